"""``manage.py encoders``: what can be chosen on this machine, what would be fetched, and why one cannot be used."""

from __future__ import annotations

import sys
from argparse import SUPPRESS
from collections.abc import Callable
from typing import Any, NamedTuple

from django.core.management.base import BaseCommand, CommandError, CommandParser

from datasets.errors import Refused
from datasets.models import Dataset
from search import comparison, detectors, encoders, offers, trials
from search.comparison import Comparison, Measured
from search.detectors import DetectorUnavailable, UnknownDetector
from search.encoders import EncoderUnavailable, UnknownEncoder, runtime
from search.offers import Offer


class _Column(NamedTuple):
    title: str
    width: int
    say: Callable[[Measured], str]
    is_of_encoder: bool = True  # the same for all its outputs


_COLUMNS = (
    _Column("encoder / space", 44, lambda one: f"{one.encoder} / {one.output}", False),
    _Column("k-NN accuracy", 15, lambda one: "-" if one.knn_accuracy is None else f"{one.knn_accuracy:.3f}", False),
    _Column("separation", 12, lambda one: "-" if one.separation is None else f"{one.separation:.3f}", False),
    _Column("vectors", 10, lambda one: f"{one.disk_bytes / 1e6:,.1f} MB", False),
    _Column("items/s", 10, lambda one: f"{one.per_second:,.0f}"),
    _Column("hours", 8, lambda one: f"{one.hours:.2f}"),
    _Column("memory", 10, lambda one: f"{one.memory_bytes / 1e6:,.0f} MB"),
    _Column("licence", 16, lambda one: one.license),
)


class Command(BaseCommand):
    help = "List the encoders and detectors, fetch one, or compare some on a dataset."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--fetch", metavar="NAME", help="fetch the weights of one, and check them")
        parser.add_argument("--compare", metavar="NAME", nargs="+", help="compare these on a sample of --dataset")
        parser.add_argument("--dataset", type=int, metavar="ID", help="whose items to compare them on")
        parser.add_argument("--sample", type=int, default=comparison.SAMPLE, help="of so many items (%(default)s)")
        parser.add_argument("--try", type=int, metavar="DESCRIPTOR", dest="descriptor", help=SUPPRESS)  # see `trials`

    def handle(self, *arguments: Any, **options: Any) -> None:
        if options["descriptor"] is not None:
            trials.answer(sys.stdin.read(), options["descriptor"])
            return
        if options["fetch"]:
            self._fetch(options["fetch"])
            return
        if options["compare"]:
            self._compare(options["dataset"], options["compare"], options["sample"])
            return
        runtime.measure_speed()
        self.stdout.write("ENCODERS")
        for encoder in encoders.all_specs():
            reads = " and ".join(f"{one}s" for one in sorted(encoder.modalities))
            dimensions = [one.dimension for one in encoder.outputs] or [encoder.facts.dimension if encoder.facts else 0]
            size = " + ".join(str(one) for one in dimensions if one) or "its own"
            said = f"{encoder.title}: reads {reads}; {size} values; {encoder.license or 'licence not stated'}"
            self._line(encoder.name, said, offers.of_encoder(encoder))
        self.stdout.write("\nDETECTORS")
        for detector in detectors.all_specs():
            self._line(detector.name, f"{detector.title}; {detector.license}", offers.of_detector(detector))

    def _line(self, name: str, said: str, offer: Offer) -> None:
        if offer.is_here:
            state = self.style.SUCCESS("here")
        else:
            state = f"to be fetched: {offer.megabytes:,} MB" if offer.megabytes else "to be fetched"
        if offer.reason:
            state += "\n    " + self.style.ERROR(offer.reason)
        mark = " [recommended]" if offer.is_recommended else ""
        rate = f"; about {offer.per_second:,.0f} a second here" if offer.per_second else ""
        self.stdout.write(f"  {name}{mark}\n    {said}{rate}\n    {state}")

    def _compare(self, dataset_id: int | None, names: list[str], sample: int) -> None:
        dataset = Dataset.objects.filter(pk=dataset_id or 0, deleted_at=None).first()
        if dataset is None:
            known = ", ".join(f"{one.pk} ({one.name})" for one in Dataset.objects.filter(deleted_at=None)[:20])
            raise CommandError(
                f"Name a dataset to compare them on: --dataset with one of {known or 'none: import one'}."
            )
        try:
            result = comparison.compare(dataset, names, sample=sample)
        except Refused as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{result.sampled} of {result.items:,} items of “{dataset.name}”, {result.labeled} of them labelled"
        )
        self.stdout.write("".join(f"{column.title:>{column.width}}" for column in _COLUMNS))
        told: set[str] = set()
        for one in result.measured:
            columns = [column for column in _COLUMNS if one.encoder not in told or not column.is_of_encoder]
            self.stdout.write("".join(f"{column.say(one):>{column.width}}" for column in columns))
            told.add(one.encoder)
        if result.overlap and not result.is_told_by_labels:
            self._overlap(result)
        for problem in result.problems:
            self.stdout.write(self.style.ERROR(f"  {problem.encoder}: {problem.reason}"))

    def _overlap(self, result: Comparison) -> None:
        """Each pair once: the encoders down the side, all but the last by their numbers along the top."""
        names = list(dict.fromkeys(one.encoder for one in result.measured))
        shares = {(pair.one, pair.other): f"{pair.share:.0%}" for pair in result.overlap}
        self.stdout.write("\nof the ten nearest, in common with …")
        self.stdout.write(" " * 48 + "".join(f"{number:>8}" for number in range(1, len(names))))
        for number, name in enumerate(names, start=1):
            cells = (shares.get((other, name), "-") for other in names[: number - 1])
            self.stdout.write(f"{number:>3} {name:>44}" + "".join(f"{cell:>8}" for cell in cells))

    def _fetch(self, name: str) -> None:
        def report(done: int, total: int) -> None:
            self.stdout.write(f"\r{done / 1e6:,.0f} of {total / 1e6:,.0f} MB", ending="")

        try:
            if name in [one.name for one in detectors.all_specs()] or name.startswith(
                ("transformers:", "words:", "yolox:")
            ):
                detectors.prepare(name, report)
                self.stdout.write(f"\n{name} is here.")
            else:
                prepared = encoders.prepare(name, report)
                outputs = ", ".join(f"{one.name} with {one.dimension} values" for one in prepared.outputs)
                self.stdout.write(f"\n{name} is here. It makes: {outputs}.")
        except (DetectorUnavailable, EncoderUnavailable, UnknownDetector, UnknownEncoder) as error:
            raise CommandError(str(error)) from error
