from .dataset import Dataset, Membership, Modality, Role
from .item import Item, Region, Status
from .job import Job, JobError, JobPhase, StagedFile
from .label import CLASS_COLORS, Annotation, LabelClass, Source
from .operation import ItemChange, Operation
from .query_image import QueryImage

__all__ = [
    "CLASS_COLORS",
    "Annotation",
    "Dataset",
    "Item",
    "ItemChange",
    "Job",
    "JobError",
    "JobPhase",
    "LabelClass",
    "Membership",
    "Modality",
    "Operation",
    "QueryImage",
    "Region",
    "Role",
    "Source",
    "StagedFile",
    "Status",
]
