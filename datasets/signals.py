"""What `datasets` tells to whoever listens (`search` does), without knowing them."""

from django.dispatch import Signal

# A dataset was made. Arguments: dataset.
dataset_created = Signal()
# Items are in, by their ids, and want their content read and their vectors made. Arguments: dataset, job, item_ids.
items_added = Signal()
# The content of items is about to be replaced, in the transaction that does it and before their rows are touched: what was
# made of the old content goes, and is wanted of the new. Arguments: dataset, job, item_ids.
content_changing = Signal()
# A job goes on after an interruption: whatever of its dataset is still without vectors is wanted. Arguments: dataset, job.
job_resumed = Signal()
# A job was canceled: what it had handed out and nobody has begun is to be dropped. Arguments: job.
job_canceled = Signal()
# Items are about to be deleted for good. Arguments: dataset, item_ids.
items_removed = Signal()
# An operation has been undone by another, in the transaction that does it. Arguments: operation, undoing.
operation_undone = Signal()
# A dataset is about to be deleted for good. Arguments: dataset.
dataset_removed = Signal()
# A region is about to be drawn (None), redrawn or removed by a person, in the transaction that does it and before its row
# is touched. Arguments: item, region.
region_changing = Signal()
