from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from datasets.api.serializers import ItemSerializer, SpaceSerializer
from datasets.models import Job, RegionLayer

from .. import comparison, tiles
from ..detectors import MOST_PER_IMAGE, SCORE_FLOOR
from ..fulltext import Mode

# A named set of choices, for the schema's enums.
SEARCH_MODES = [mode.value for mode in Mode]


@extend_schema_field({"type": "object", "additionalProperties": True})
class FilterField(serializers.JSONField):
    """Read by ``datasets.filters.parse``, which says what is wrong with it."""


_NUMBERS = {"type": "array", "items": {"type": "number"}}
_POLYGON = {"type": "array", "items": _NUMBERS}
_EXAMPLES = {
    "type": "array",
    "items": {
        "oneOf": [
            {"type": "integer"},
            {
                "type": "object",
                "description": "An area of an image: one of box (x, y, width, height: 0..1), polygon and region (its id).",
                "properties": {
                    "item": {"type": "integer"},
                    "box": _NUMBERS,
                    "polygon": _POLYGON,
                    "region": {"type": "integer"},
                },
                "required": ["item"],
            },
        ]
    },
}


@extend_schema_field(_EXAMPLES)
class ExamplesField(serializers.JSONField):
    """Read by ``search.examples.parse``, which says what is wrong with it."""


@extend_schema_field(_NUMBERS)
class BoxField(serializers.JSONField):
    """x, y, width, height."""


@extend_schema_field(_POLYGON)
class PolygonField(serializers.JSONField):
    """[[x, y], …]."""


class QuerySerializer(serializers.Serializer[Any]):
    """The words are read by ``search.query.parse``; here they have their shapes only."""

    text = serializers.CharField(required=False, allow_blank=True)
    literal = serializers.BooleanField(
        required=False,
        help_text="The text is words, whatever numbers, places, colours or measures could be understood in it.",
    )
    like = ExamplesField(required=False, allow_null=True)
    unlike = ExamplesField(required=False, allow_null=True)
    image = serializers.CharField(
        required=False, allow_blank=True, help_text="A file (multipart), or the reference that an earlier answer gave."
    )
    image_box = BoxField(required=False, allow_null=True, help_text="The part of the image that is meant.")
    image_polygon = PolygonField(required=False, allow_null=True)
    regions = serializers.BooleanField(
        required=False,
        allow_null=True,
        default=None,
        help_text="Score items by their regions too; unless told, when an example is an area of an image.",
    )
    filter = FilterField(required=False, allow_null=True)
    mode = serializers.ChoiceField(
        choices=SEARCH_MODES,
        required=False,
        help_text="How words are looked for in texts: by likeness and by the words themselves (hybrid, the default there), by "
        "likeness alone (meaning), or only in texts that hold them (words).",
    )


class SearchSerializer(QuerySerializer):
    limit = serializers.IntegerField(min_value=1, max_value=1000, default=50)
    min_score = serializers.FloatField(required=False, allow_null=True)
    after = FilterField(required=False, allow_null=True, help_text="The “next” of an answer, for the page after it.")
    exact = serializers.BooleanField(
        required=False, help_text="Compare every vector under the filter, however long it takes."
    )
    explain = serializers.BooleanField(required=False, help_text="Tell in “plan” how it was answered, and why so.")


class RankingSerializer(QuerySerializer):
    limit = serializers.IntegerField(
        min_value=1,
        max_value=1000,
        required=False,
        help_text="Only so many, as a search finds them; else all, exactly.",
    )


class SearchUploadSerializer(SearchSerializer):
    image = serializers.FileField(required=False)
    filter = serializers.CharField(required=False, help_text="The filter object as JSON.")


class FoundRegionSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    kind = serializers.ChoiceField(choices=RegionLayer.Kind.choices)
    x = serializers.FloatField()
    y = serializers.FloatField()
    width = serializers.FloatField()
    height = serializers.FloatField()
    polygon = PolygonField(allow_null=True)


class ScoredRegionSerializer(FoundRegionSerializer):
    score = serializers.FloatField()


class ResultSerializer(serializers.Serializer[Any]):
    item = ItemSerializer()
    score = serializers.FloatField(
        allow_null=True,
        help_text="Cosine, -1 to 1; with regions, the best of the item and of these. null where the filter alone has answered.",
    )
    percentile = serializers.FloatField(
        allow_null=True,
        help_text="Of all items that were compared, the share that scores lower, 0 to 100; through an index, by the place in the "
        "order. null where score is.",
    )
    region = ScoredRegionSerializer(
        required=False, help_text="The region that was best; none when the item as a whole was."
    )
    highlights = serializers.ListField(
        child=serializers.ListField(child=serializers.IntegerField(), min_length=2, max_length=2),
        help_text="Where the words stand in the first 500 characters of the text: [[from, to], …].",
    )


class HistogramSerializer(serializers.Serializer[Any]):
    counts = serializers.ListField(child=serializers.IntegerField())
    sampled = serializers.IntegerField(allow_null=True, help_text="Of so many items, standing for all; null: of all.")

    def get_fields(self) -> dict[str, Any]:
        return {"from": serializers.FloatField(), "to": serializers.FloatField(), **super().get_fields()}


class SaidSerializer(serializers.Serializer[Any]):
    text = serializers.CharField(allow_blank=True)
    like = ExamplesField()
    unlike = ExamplesField()
    image = serializers.CharField(allow_blank=True)
    mode = serializers.CharField()
    literal = serializers.BooleanField()
    image_box = BoxField(required=False)
    image_polygon = PolygonField(required=False)
    regions = serializers.BooleanField(allow_null=True)


class UnderstoodPartSerializer(serializers.Serializer[Any]):
    phrase = serializers.CharField(help_text="What was said.")
    source = serializers.CharField(help_text="What answers it: detections, measures or colour.")
    filter = serializers.DictField(child=serializers.JSONField(), help_text="The condition that it stands for.")
    by = serializers.CharField(allow_blank=True, help_text="The model whose detections answer it.")


class UnderstoodSerializer(serializers.Serializer[Any]):
    parts = UnderstoodPartSerializer(many=True, help_text="Conditions; all of them hold.")
    words = serializers.CharField(allow_blank=True, help_text="What is left, and is compared with the items.")
    notes = serializers.ListField(child=serializers.CharField(), help_text="What could not be looked up, and why.")


class PlanSerializer(serializers.Serializer[Any]):
    way = serializers.ChoiceField(["exact", "index"])
    why = serializers.CharField()
    rows = serializers.IntegerField(help_text="Vectors in the space, about.")
    estimated_share = serializers.FloatField(help_text="Of them that pass the filter, from a sample.")
    estimated_passing = serializers.IntegerField()
    fetched = serializers.IntegerField(allow_null=True, help_text="Asked of the index.")
    ef_search = serializers.IntegerField(allow_null=True, help_text="How hard the index was made to look.")


class AnswerSerializer(serializers.Serializer[Any]):
    results = ResultSerializer(many=True)
    exact = serializers.BooleanField(help_text="Every embedded item under the filter was compared.")
    embedded = serializers.IntegerField(help_text="Items under the filter that have a vector.")
    total = serializers.IntegerField(help_text="Items under the filter.")
    matched = serializers.IntegerField(
        allow_null=True, help_text="Items under the filter that hold the words; null where only likeness counts."
    )
    regions = serializers.IntegerField(
        allow_null=True, help_text="That were compared; null when only whole items were."
    )
    histogram = HistogramSerializer(help_text="Scores of all embedded items under the filter.")
    stands_out = serializers.BooleanField(
        allow_null=True,
        help_text="Whether best_score is at least ordinary_score; null where too little is known to tell.",
    )
    suggested_min_score = serializers.FloatField(
        allow_null=True,
        help_text="A cut: half way from the middle of all scores to the best. null unless something stands out.",
    )
    best_score = serializers.FloatField(
        allow_null=True, help_text="Of all items that are no examples themselves, on whatever page."
    )
    ordinary_score = serializers.FloatField(
        allow_null=True, help_text="The score from which on an item stands out; null where too little is known."
    )
    verdict = serializers.CharField(allow_blank=True, help_text="A sentence, when nothing stands out.")
    next = FilterField(allow_null=True, help_text="Send it as “after” for the next page; null on the last one.")
    took_ms = serializers.FloatField()
    space = SpaceSerializer(allow_null=True, help_text="null where the filter alone has answered.")
    query = SaidSerializer()
    understood = UnderstoodSerializer()
    plan = PlanSerializer(required=False, help_text="With “explain”.")


class WhySerializer(QuerySerializer):
    item = serializers.IntegerField(help_text="The result that is to be explained.")


class WhyPartSerializer(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=["example", "text", "image"])
    side = serializers.ChoiceField(choices=["like", "unlike"])
    score = serializers.FloatField(help_text="Cosine with the item as a whole.", allow_null=True)
    region_score = serializers.FloatField(help_text="Cosine with its best region.", allow_null=True)
    text = serializers.CharField(required=False)
    item = serializers.IntegerField(required=False)
    key = serializers.CharField(required=False)
    thumbnail_url = serializers.CharField(required=False, allow_null=True)
    region = serializers.IntegerField(required=False)
    box = BoxField(required=False, help_text="The area that is meant, or the box around it.")
    polygon = PolygonField(required=False, help_text="The area that is meant, where it is a polygon.")


class ReasonsSerializer(serializers.Serializer[Any]):
    item = serializers.IntegerField()
    score = serializers.FloatField(help_text="As in the search.")
    region = ScoredRegionSerializer(allow_null=True)
    parts = WhyPartSerializer(many=True, help_text="What it is most like comes first.")


class SpaceDetailSerializer(SpaceSerializer):
    title = serializers.CharField(help_text="Of its encoder.")
    becomes_default = serializers.BooleanField(help_text="It takes over as default when it is complete.")
    total = serializers.IntegerField(help_text="Items of the dataset.")
    pending = serializers.IntegerField(help_text="Items that wait for its encoder.")
    failed = serializers.IntegerField(help_text="Items that its encoder could make no vector of.")
    size_bytes = serializers.IntegerField(help_text="On disk.")
    job = serializers.IntegerField(allow_null=True, help_text="The job that fills it, when one is at it.")
    is_indexed = serializers.BooleanField(help_text="Searches may go through an approximate index.")
    index_recall = serializers.FloatField(allow_null=True, help_text="Of the best 100, as measured when it was built.")
    wants_index = serializers.BooleanField(help_text="It is large and has none: every search compares every vector.")


class NewSpaceSerializer(serializers.Serializer[Any]):
    encoder = serializers.CharField(max_length=200)
    becomes_default = serializers.BooleanField(default=False, help_text="Take over as default when complete.")


class SpaceChangeSerializer(serializers.Serializer[Any]):
    is_default = serializers.BooleanField(required=False)
    when_complete = serializers.BooleanField(
        required=False, help_text="With is_default: not now, but as soon as every item is embedded or has failed."
    )
    becomes_default = serializers.BooleanField(
        required=False, help_text="false: it does not take over when it is complete."
    )

    def validate_is_default(self, value: bool) -> bool:
        if not value:
            raise serializers.ValidationError("A dataset has one default space. Make another one the default instead.")
        return value

    def validate_becomes_default(self, value: bool) -> bool:
        if value:
            raise serializers.ValidationError("Ask with is_default and when_complete.")
        return value


class FailureSerializer(serializers.Serializer[Any]):
    item = ItemSerializer()
    reason = serializers.CharField()


class EncoderOutputSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    dimension = serializers.IntegerField()
    accepts = serializers.ListField(child=serializers.CharField())


class EncoderSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    title = serializers.CharField()
    description = serializers.CharField()
    modalities = serializers.ListField(child=serializers.CharField())
    outputs = EncoderOutputSerializer(many=True, help_text="Empty when only the weights tell them.")
    dimensions = serializers.ListField(child=serializers.IntegerField(), help_text="Of its outputs, as far as known.")
    license = serializers.CharField()
    source = serializers.CharField()
    is_default = serializers.BooleanField()
    available = serializers.BooleanField()
    reason = serializers.CharField(allow_blank=True, help_text="Why it cannot be used.")
    is_here = serializers.BooleanField(help_text="It can be used without fetching anything.")
    megabytes = serializers.IntegerField(allow_null=True, help_text="To be fetched; null where nobody has said.")
    per_second = serializers.FloatField(allow_null=True, help_text="Items on this machine, about.")
    is_recommended = serializers.BooleanField()


# Comparisons of encoders ---------------------------------------------------------------------------------------------


class NewComparisonSerializer(serializers.Serializer[Any]):
    encoders = serializers.ListField(
        child=serializers.CharField(max_length=200),
        min_length=1,
        max_length=comparison.MOST_ENCODERS,
        help_text="Names of those to compare; they need not be encoders of the dataset.",
    )
    sample = serializers.IntegerField(
        default=comparison.SAMPLE,
        help_text=f"Items to try them on: {comparison.LEAST_SAMPLE} to {comparison.GREATEST_SAMPLE:,}.",
    )


class MeasuredSerializer(serializers.Serializer[Any]):
    """One output of one encoder on the sample."""

    encoder = serializers.CharField()
    title = serializers.CharField()
    output = serializers.CharField()
    dimension = serializers.IntegerField()
    license = serializers.CharField(allow_blank=True)
    runtime = serializers.CharField(help_text="What ran it.")
    sampled = serializers.IntegerField(help_text="Items that it made a vector of.")
    failed = serializers.IntegerField(help_text="Items that could not be read, or that it made no vector of.")
    knn_accuracy = serializers.FloatField(
        allow_null=True,
        help_text=f"Share of labelled items that most of their {comparison.NEIGHBOURS} nearest others give their own label.",
    )
    separation = serializers.FloatField(allow_null=True, help_text="Mean silhouette of the classes, -1 to 1.")
    per_second = serializers.FloatField(help_text="Items, with their files opened.")
    hours = serializers.FloatField(help_text="For the whole dataset, at that speed.")
    others_share = serializers.FloatField(
        help_text="Of the processors' time, what other work took meanwhile: alone, the encoder is faster by that much."
    )
    memory_bytes = serializers.IntegerField(help_text="What its process grew by, at the most.")
    disk_bytes = serializers.IntegerField(help_text="Vectors of the whole dataset.")


class OverlapSerializer(serializers.Serializer[Any]):
    one = serializers.CharField()
    other = serializers.CharField()
    share = serializers.FloatField(
        help_text=f"Of an item's {comparison.OVERLAP_NEIGHBOURS} nearest neighbours, those that both encoders find; the mean."
    )


class ProblemSerializer(serializers.Serializer[Any]):
    encoder = serializers.CharField()
    reason = serializers.CharField()


class ComparedSerializer(serializers.Serializer[Any]):
    items = serializers.IntegerField(help_text="Of the dataset, that can be embedded.")
    sampled = serializers.IntegerField()
    labeled = serializers.IntegerField(help_text="Of the sample.")
    classes = serializers.IntegerField(help_text="That the labelled items of the sample have.")
    is_told_by_labels = serializers.BooleanField(
        help_text="There are labels enough to choose by accuracy; else look at the overlap."
    )
    measured = MeasuredSerializer(many=True)
    problems = ProblemSerializer(many=True, help_text="Why an encoder could not be measured.")
    overlap = OverlapSerializer(many=True, help_text="Every two encoders, in the first output of each.")


class ComparisonSerializer(serializers.Serializer[Any]):
    job = serializers.IntegerField()
    state = serializers.ChoiceField(choices=Job.State.choices)
    phase = serializers.CharField(allow_blank=True, help_text="prepare counts bytes, compare counts encoders.")
    done = serializers.IntegerField()
    total = serializers.IntegerField()
    rate = serializers.FloatField(allow_null=True)
    eta_s = serializers.FloatField(allow_null=True)
    message = serializers.CharField(allow_blank=True, help_text="Why it has failed.")
    encoders = serializers.ListField(child=serializers.CharField())
    sample = serializers.IntegerField(help_text="Items, at the most.")
    author = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    result = ComparedSerializer(allow_null=True, help_text="null until it has succeeded.")


# Region layers -------------------------------------------------------------------------------------------------------


class LayerChangeSerializer(serializers.Serializer[Any]):
    """What does not belong to the layer's kind is refused by ``search.layers``."""

    encoder = serializers.CharField(
        required=False,
        max_length=200,
        help_text="Of one of the dataset's spaces; that of the default space unless told.",
    )
    scales = serializers.ListField(
        child=serializers.IntegerField(min_value=2, max_value=tiles.GREATEST_SCALE),
        required=False,
        min_length=1,
        max_length=4,
        help_text="Tiles: n × n of them for every n. 2 and 3 unless told.",
    )
    overlap = serializers.FloatField(
        required=False,
        min_value=0,
        max_value=tiles.GREATEST_OVERLAP,
        help_text="Tiles: what neighbours share, of a side.",
    )
    threshold = serializers.FloatField(
        required=False,
        min_value=SCORE_FLOOR,
        max_value=1,
        help_text="Detected: the score from which on a box becomes a region.",
    )
    most_regions = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=MOST_PER_IMAGE,
        help_text="Detected: regions an image at most; 0 keeps the predictions alone.",
    )
    words = serializers.ListField(
        child=serializers.CharField(max_length=200),
        required=False,
        max_length=100,
        help_text="Detected: what to look for, for detectors that take words.",
    )


class NewLayerSerializer(LayerChangeSerializer):
    kind = serializers.ChoiceField(choices=RegionLayer.Kind.choices)
    detector = serializers.CharField(required=False, max_length=200, help_text="Detected: see GET detectors/.")


class RegionLayerSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    kind = serializers.ChoiceField(choices=RegionLayer.Kind.choices)
    detector = serializers.CharField(allow_blank=True)
    title = serializers.CharField(allow_blank=True, help_text="Of its detector.")
    encoder = serializers.CharField()
    params = serializers.DictField(child=serializers.JSONField())
    state = serializers.ChoiceField(choices=RegionLayer.State.choices)
    problem = serializers.CharField(allow_blank=True)
    job = serializers.IntegerField(allow_null=True, help_text="The last one that filled it or removes it.")
    pending = serializers.IntegerField(help_text="Items that are still to get their regions.")
    failed = serializers.IntegerField(help_text="Items that could get none: see failures/.")
    created_at = serializers.DateTimeField()


class CostSerializer(serializers.Serializer[Any]):
    """null is what cannot be known before the detector or the encoder has been fetched."""

    items = serializers.IntegerField()
    regions = serializers.IntegerField(allow_null=True)
    is_exact = serializers.BooleanField(help_text="Whether `regions` is; what a detector will find is extrapolated.")
    predictions = serializers.IntegerField(allow_null=True)
    vectors = serializers.IntegerField(allow_null=True)
    size_bytes = serializers.IntegerField(allow_null=True, help_text="On disk, indexes included; an estimate.")
    seconds = serializers.FloatField(
        allow_null=True, help_text="An estimate from the sampled items, if this machine has nothing else to do."
    )
    sampled = serializers.IntegerField(help_text="Items that were tried.")
    megabytes = serializers.IntegerField(
        allow_null=True, help_text="To be fetched first; 0 when all is here, null where nobody has said."
    )


class DetectorSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    title = serializers.CharField()
    description = serializers.CharField()
    classes = serializers.ListField(
        child=serializers.CharField(), help_text="Empty: told by its weights, or it takes words."
    )
    takes_words = serializers.BooleanField()
    license = serializers.CharField()
    source = serializers.CharField()
    is_default = serializers.BooleanField()
    available = serializers.BooleanField()
    reason = serializers.CharField(allow_blank=True, help_text="Why it cannot be used.")
    is_here = serializers.BooleanField(help_text="It can be used without fetching anything.")
    megabytes = serializers.IntegerField(allow_null=True, help_text="To be fetched; null where nobody has said.")
    per_second = serializers.FloatField(allow_null=True, help_text="Items on this machine, about.")
    is_recommended = serializers.BooleanField()
