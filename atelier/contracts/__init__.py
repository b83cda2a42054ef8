"""What several processes of Atelier must agree on: ids, keys, documents, statuses, errors, time."""
