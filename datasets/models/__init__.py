from .dataset import Dataset, Membership, Modality, Role
from .item import Item, Status
from .job import Job, JobError, JobPhase, StagedFile
from .label import CLASS_COLORS, Annotation, LabelClass, Source
from .operation import ItemChange, Operation
from .prediction import PredictedItem, Prediction, PredictionModel
from .query_image import QueryImage
from .region import Region, RegionLayer
from .saved_search import SavedSearch

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
    "PredictedItem",
    "Prediction",
    "PredictionModel",
    "QueryImage",
    "Region",
    "RegionLayer",
    "Role",
    "SavedSearch",
    "Source",
    "StagedFile",
    "Status",
]
