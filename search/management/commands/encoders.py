"""``manage.py encoders``: what can be chosen on this machine, what would be fetched, and why one cannot be used."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from search import detectors, encoders, offers
from search.detectors import DetectorUnavailable, UnknownDetector
from search.encoders import EncoderUnavailable, UnknownEncoder, runtime
from search.offers import Offer


class Command(BaseCommand):
    help = "List the encoders and detectors, or fetch one."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--fetch", metavar="NAME", help="fetch the weights of an encoder or detector, and check them"
        )

    def handle(self, *arguments: Any, **options: Any) -> None:
        if options["fetch"]:
            self._fetch(options["fetch"])
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
