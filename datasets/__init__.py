"""What is curated: datasets, items, classes, annotations, operations, jobs, members; import and export."""
