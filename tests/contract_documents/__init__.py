"""What several processes agree on, document by document and rule by rule."""
