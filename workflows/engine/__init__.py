"""The deterministic, event-sourced interpreter of state machines; its door is `engine`.

definition   the frozen states; `parse` reads them, `fields` refuses what nobody reads
expressions  `paths` with `filters`, `intrinsics`, `templates`, `choices`
core         `visit`: the stages of a visit to one state; `retries`; `teststate`: all in one
fold         `execution`: happenings in, events and effects out; inside, `fold` moves from state to
             state, `attempts` keeps the tasks, `fans` Parallel and Map, `timers` what is awaited,
             `redrive` goes on after an end
history      `history` and `taskevents` shape the events, `recorder` numbers and limits them
store        the `HistoryStore` protocol and one in memory; `sqlite_store`: the durable one, on a
             `sqlite_file` that outlives its errors
host         `host` advances, commits, acts and recovers; `lambda_tasks` is its side of Lambda;
             `alarms`, `registry`, `tokens` and `status_events` serve it; `engine` is what callers
             see, `calls` what they hand in

Everything above the store is pure: no clock, no threads, no input or output, seeded randomness.
"""
