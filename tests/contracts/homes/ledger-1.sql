BEGIN TRANSACTION;
CREATE TABLE batches (
        batch TEXT PRIMARY KEY,
        document TEXT NOT NULL,
        state TEXT NOT NULL,
        created_at TEXT NOT NULL
    ) WITHOUT ROWID;
INSERT INTO "batches" VALUES('bibj7arhctswonaifrnkt','{"attempt":1,"batch":"bibj7arhctswonaifrnkt","created_at":"2026-01-01T00:00:00.000Z","epoch":2,"members":[["rckceaarxggt6kunrwniy3dxvyu",1]],"schema":"atelier.batch/1"}','launched','2026-01-01T00:00:00.000Z');
INSERT INTO "batches" VALUES('bvmvxymn4xrj54vrjbg2u','{"attempt":1,"batch":"bvmvxymn4xrj54vrjbg2u","created_at":"2026-01-01T00:00:00.000Z","epoch":1,"members":[["r6wqdkd35rulzcqac6l43yspbai",1]],"schema":"atelier.batch/1"}','launched','2026-01-01T00:00:00.000Z');
CREATE TABLE dispatch (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        epoch INTEGER NOT NULL,
        doorbell INTEGER NOT NULL,
        last_launch_ms INTEGER NOT NULL
    );
INSERT INTO "dispatch" VALUES(1,3,0,1767225601000);
CREATE TABLE models (
        owner TEXT NOT NULL,
        model TEXT NOT NULL,
        document TEXT NOT NULL,
        tenant TEXT NOT NULL,
        PRIMARY KEY (owner, model)
    ) WITHOUT ROWID;
INSERT INTO "models" VALUES('ocq2gs2luimcfj4jlurdkos55al','me','{"base":"tiny","created_at":"2026-01-01T00:00:00.000Z","current":"v1-1aa74044","dataset":"mfbgvngewmcdmrrt3l2kwaafz6u","model":"me","owner":"ocq2gs2luimcfj4jlurdkos55al","schema":"atelier.model-record/1","subject":"creature","tenant":"default","trigger":"zorp","updated_at":"2026-01-01T00:00:00.000Z","used_at":null,"user":"ann","versions":[{"artifact":"artifacts/tiny/ocq2gs2luimcfj4jlurdkos55al/me/v1-1aa74044.tar.gz","bytes":749,"created_at":"2026-01-01T00:00:00.000Z","digest":"518379b9cf52d54f4aa3121856db3dc7dfbb682a9322627fa5f3ef9b28940100","instance_prompt":"a photo of zorp creature","rank":16,"request":"r6wqdkd35rulzcqac6l43yspbai","version":"v1-1aa74044"}]}','default');
CREATE TABLE outbox (
        id TEXT PRIMARY KEY,
        document TEXT NOT NULL,
        created_at TEXT NOT NULL,
        delivered_at TEXT
    ) WITHOUT ROWID;
INSERT INTO "outbox" VALUES('m6xt6dblumoaf2vx4nqpinwrb5i','{"created_at":"2026-01-01T00:00:01.000Z","data":{"do":"Start a new onboarding when it is wanted again.","error":"Cancelled","facts":{"request":"rwephrxqxtd34q7pqqtwyw6hczg"},"message":"request rwephrxqxtd34q7pqqtwyw6hczg was cancelled","model":"me","onboarding":"rwephrxqxtd34q7pqqtwyw6hczg","user_id":"cid"},"id":"m6xt6dblumoaf2vx4nqpinwrb5i","schema":"atelier.notification/1","tenant":"default","type":"onboarding.cancelled"}','2026-01-01T00:00:01.000Z','2026-01-01T00:00:01.000Z');
INSERT INTO "outbox" VALUES('mvhs6urcajsmirgdl4nu5vbhpqv','{"created_at":"2026-01-01T00:00:00.000Z","data":{"instance_prompt":"a photo of zorp creature","model":"me","onboarding":"r6wqdkd35rulzcqac6l43yspbai","user_id":"ann","version":"v1-1aa74044"},"id":"mvhs6urcajsmirgdl4nu5vbhpqv","schema":"atelier.notification/1","tenant":"default","type":"onboarding.ready"}','2026-01-01T00:00:00.000Z',NULL);
CREATE TABLE requests (
        request TEXT PRIMARY KEY,
        document TEXT NOT NULL,
        tenant TEXT NOT NULL,
        owner TEXT NOT NULL,
        status TEXT NOT NULL,
        job TEXT,
        priority INTEGER NOT NULL,
        created_at TEXT NOT NULL,
        queued_at TEXT,
        place TEXT
    ) WITHOUT ROWID;
INSERT INTO "requests" VALUES('r6wqdkd35rulzcqac6l43yspbai','{"attempt":1,"batch":"bvmvxymn4xrj54vrjbg2u","created_at":"2026-01-01T00:00:00.000Z","dataset":"mfbgvngewmcdmrrt3l2kwaafz6u","entered":{"claimed":"2026-01-01T00:00:00.000Z","launching":"2026-01-01T00:00:00.000Z","publishing":"2026-01-01T00:00:00.000Z","queued":"2026-01-01T00:00:00.000Z","ready":"2026-01-01T00:00:00.000Z","trained":"2026-01-01T00:00:00.000Z"},"eta_seconds":null,"execution":"ann","failure":null,"given":{"base":"tiny","consent":{"given_at":"2026-01-01T00:00:00.000Z","given_by":"operator","text_version":"2026-11"},"created_at":"2026-01-01T00:00:00.000Z","deadline":"2026-01-02T00:00:00.000Z","hyperparameters":{"alpha":16.0,"batch_size":4,"checkpoint_every_steps":3,"flip":true,"learning_rate":0.003,"max_grad_norm":1.0,"min_snr_gamma":5.0,"noise_offset":0.0,"preview_every_steps":3,"prior_weight":0.0,"rank":16,"resolution":64,"schedule":"cosine","steps":6,"targets":"all","warmup_steps":1,"weight_decay":0.01},"model":"me","new_version":false,"owner":"ocq2gs2luimcfj4jlurdkos55al","photos":"uploads/ocq2gs2luimcfj4jlurdkos55al/first/","preset":"nano","priority":0,"request":"r6wqdkd35rulzcqac6l43yspbai","samples":[],"seed":0,"subject":"creature","tenant":"default","trigger":"zorp","user":"ann"},"host":"algo-1","job":"atelier-bvmvxymn4xrj54vrjbg2u-1","job_outcome":null,"job_reason":"","lone_failures":0,"loss":null,"photos_left_out":{},"photos_used":5,"queued_at":null,"resume_from":null,"schema":"atelier.request-record/1","status":"ready","step":6,"steps":6,"token":"t-ann","updated_at":"2026-01-01T00:00:00.000Z","version":"v1-1aa74044","waiting_for":""}','default','ocq2gs2luimcfj4jlurdkos55al','ready','atelier-bvmvxymn4xrj54vrjbg2u-1',0,'2026-01-01T00:00:00.000Z',NULL,'2026-01-01T00:00:00.000Z');
INSERT INTO "requests" VALUES('rckceaarxggt6kunrwniy3dxvyu','{"attempt":1,"batch":"bibj7arhctswonaifrnkt","created_at":"2026-01-01T00:00:00.000Z","dataset":"mv5llsl7lcqim6neomp3yjwzwqs","entered":{"claimed":"2026-01-01T00:00:00.000Z","launching":"2026-01-01T00:00:01.000Z","queued":"2026-01-01T00:00:00.000Z","training":"2026-01-01T00:00:01.000Z"},"eta_seconds":null,"execution":"bob","failure":null,"given":{"base":"tiny","consent":{"given_at":"2026-01-01T00:00:00.000Z","given_by":"operator","text_version":"2026-11"},"created_at":"2026-01-01T00:00:00.000Z","deadline":"2026-01-02T00:00:00.000Z","hyperparameters":{"alpha":16.0,"batch_size":4,"checkpoint_every_steps":3,"flip":true,"learning_rate":0.003,"max_grad_norm":1.0,"min_snr_gamma":5.0,"noise_offset":0.0,"preview_every_steps":3,"prior_weight":0.0,"rank":16,"resolution":64,"schedule":"cosine","steps":6,"targets":"all","warmup_steps":1,"weight_decay":0.01},"model":"me","new_version":false,"owner":"ovac7nu4i7krp4ye2ajrsz5fxan","photos":"uploads/ovac7nu4i7krp4ye2ajrsz5fxan/first/","preset":"nano","priority":0,"request":"rckceaarxggt6kunrwniy3dxvyu","samples":[],"seed":0,"subject":"creature","tenant":"default","trigger":"zorp","user":"bob"},"host":"algo-1","job":"atelier-bibj7arhctswonaifrnkt-1","job_outcome":null,"job_reason":"","lone_failures":0,"loss":null,"photos_left_out":{},"photos_used":5,"queued_at":null,"resume_from":null,"schema":"atelier.request-record/1","status":"training","step":3,"steps":6,"token":"t-bob","updated_at":"2026-01-01T00:00:01.000Z","version":null,"waiting_for":""}','default','ovac7nu4i7krp4ye2ajrsz5fxan','training','atelier-bibj7arhctswonaifrnkt-1',0,'2026-01-01T00:00:00.000Z',NULL,'2026-01-01T00:00:00.000Z');
INSERT INTO "requests" VALUES('rqyggmihfrbykyvdg43jivbubo4','{"attempt":1,"batch":null,"created_at":"2026-01-01T00:00:01.000Z","dataset":"mai4l4cujrzudeyjn2qvfvsbic6","entered":{"queued":"2026-01-01T00:00:01.000Z"},"eta_seconds":null,"execution":"dan","failure":null,"given":{"base":"tiny","consent":{"given_at":"2026-01-01T00:00:01.000Z","given_by":"operator","text_version":"2026-11"},"created_at":"2026-01-01T00:00:01.000Z","deadline":"2026-01-02T00:00:01.000Z","hyperparameters":{"alpha":16.0,"batch_size":4,"checkpoint_every_steps":3,"flip":true,"learning_rate":0.003,"max_grad_norm":1.0,"min_snr_gamma":5.0,"noise_offset":0.0,"preview_every_steps":3,"prior_weight":0.0,"rank":16,"resolution":64,"schedule":"cosine","steps":6,"targets":"all","warmup_steps":1,"weight_decay":0.01},"model":"me","new_version":false,"owner":"ohmfswwhfzudno2dlxewkm46myb","photos":"uploads/ohmfswwhfzudno2dlxewkm46myb/first/","preset":"nano","priority":0,"request":"rqyggmihfrbykyvdg43jivbubo4","samples":[],"seed":0,"subject":"creature","tenant":"default","trigger":"zorp","user":"dan"},"host":null,"job":null,"job_outcome":null,"job_reason":"","lone_failures":0,"loss":null,"photos_left_out":{},"photos_used":5,"queued_at":"2026-01-01T00:00:01.000Z","resume_from":null,"schema":"atelier.request-record/1","status":"queued","step":0,"steps":6,"token":"t-dan","updated_at":"2026-01-01T00:00:01.000Z","version":null,"waiting_for":""}','default','ohmfswwhfzudno2dlxewkm46myb','queued',NULL,0,'2026-01-01T00:00:01.000Z','2026-01-01T00:00:01.000Z','2026-01-01T00:00:01.000Z');
INSERT INTO "requests" VALUES('rwephrxqxtd34q7pqqtwyw6hczg','{"attempt":1,"batch":null,"created_at":"2026-01-01T00:00:01.000Z","dataset":"mehb4bxcpo2hyairlyos4ye7l33","entered":{"cancelled":"2026-01-01T00:00:01.000Z","queued":"2026-01-01T00:00:01.000Z"},"eta_seconds":null,"execution":"cid","failure":{"do":"Start a new onboarding when it is wanted again.","error":"Cancelled","facts":{"request":"rwephrxqxtd34q7pqqtwyw6hczg"},"message":"request rwephrxqxtd34q7pqqtwyw6hczg was cancelled"},"given":{"base":"tiny","consent":{"given_at":"2026-01-01T00:00:01.000Z","given_by":"operator","text_version":"2026-11"},"created_at":"2026-01-01T00:00:01.000Z","deadline":"2026-01-02T00:00:01.000Z","hyperparameters":{"alpha":16.0,"batch_size":4,"checkpoint_every_steps":3,"flip":true,"learning_rate":0.003,"max_grad_norm":1.0,"min_snr_gamma":5.0,"noise_offset":0.0,"preview_every_steps":3,"prior_weight":0.0,"rank":16,"resolution":64,"schedule":"cosine","steps":6,"targets":"all","warmup_steps":1,"weight_decay":0.01},"model":"me","new_version":false,"owner":"ogw6256rjmhwd3dticsvuiag2hk","photos":"uploads/ogw6256rjmhwd3dticsvuiag2hk/first/","preset":"nano","priority":0,"request":"rwephrxqxtd34q7pqqtwyw6hczg","samples":[],"seed":0,"subject":"creature","tenant":"default","trigger":"zorp","user":"cid"},"host":null,"job":null,"job_outcome":null,"job_reason":"","lone_failures":0,"loss":null,"photos_left_out":{},"photos_used":5,"queued_at":null,"resume_from":null,"schema":"atelier.request-record/1","status":"cancelled","step":0,"steps":6,"token":"t-cid","updated_at":"2026-01-01T00:00:01.000Z","version":null,"waiting_for":""}','default','ogw6256rjmhwd3dticsvuiag2hk','cancelled',NULL,0,'2026-01-01T00:00:01.000Z',NULL,'2026-01-01T00:00:01.000Z');
CREATE INDEX requests_by_tenant ON requests (tenant, created_at, request);
CREATE INDEX requests_by_owner ON requests (owner, created_at, request);
CREATE INDEX requests_by_job ON requests (job, request) WHERE job IS NOT NULL;
CREATE INDEX queue ON requests (priority DESC, queued_at, request)
        WHERE queued_at IS NOT NULL;
CREATE INDEX models_by_tenant ON models (tenant, owner, model);
CREATE INDEX undelivered ON outbox (created_at, id) WHERE delivered_at IS NULL;
CREATE INDEX open_batches ON batches (created_at, batch) WHERE state IN ('open', 'sealed');
COMMIT;
PRAGMA user_version = 1;
