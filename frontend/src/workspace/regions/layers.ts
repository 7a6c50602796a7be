// The kinds of regions that a dataset has or could have (layers, in the API), in words.
import type { Job, Layer, LayerCost } from "../../lib/api/client";
import { bytes, count, duration, megabytes, plural } from "../../lib/format";
import { progress } from "../spaces/coverage";

type Named = Pick<Layer, "kind" | "title" | "detector" | "params">;

export const nameOf = ({ kind, title, detector }: Named): string =>
  kind === "tile" ? "Tiles" : kind === "drawn" ? "Drawn by people" : title || detector;

/** Tiles of an image with these grids. */
export const tilesOf = (scales: number[]): number => scales.reduce((sum, scale) => sum + scale * scale, 0);

const SHARES: Record<number, string> = { 0.25: "a quarter", 0.5: "a half" };

/** “2 × 2 and 3 × 3 over every picture, overlapping by a quarter”; “Boxes with a score of 0.25 or more”. */
export function detailsOf({ kind, params }: Named): string {
  if (kind === "drawn") return "Boxes that people draw in the large view of a picture";
  if (kind === "tile") {
    const { scales, overlap } = params as { scales: number[]; overlap: number };
    const grids = listed(scales.map((scale) => `${scale} × ${scale}`));
    const shared = overlap
      ? `overlapping by ${SHARES[overlap] ?? `${Math.round(overlap * 100)} %`}`
      : "side by side";
    return `${grids} over every picture, ${shared}`;
  }
  const { threshold, words } = params as { threshold: number; words: string[] };
  const boxes = `Boxes with a score of ${threshold.toFixed(2)} or more`;
  return words.length ? `${boxes} of ${listed(words.map((word) => `“${word}”`))}` : boxes;
}

const listed = (parts: string[]): string =>
  parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;

interface Pictures {
  total: number;
  /** Those whose files could not be read: they get no regions. */
  unreadable: number;
}

/** “Making regions · 120 of 579 · 12/s · 40 s left”: what its job does now. */
export function doing(job: Job): string {
  const [what, ...rest] = progress(job).split(" · ");
  const isCounted = job.state === "running" && job.phase !== "prepare" && job.total > 0;
  return [what, isCounted && `${count(job.done)} of ${count(job.total)}`, ...rest]
    .filter(Boolean)
    .join(" · ");
}

/** “579 of 579 pictures · 7,527 regions”, for those that are over every picture. */
export function coverage(layer: Layer, { total, unreadable }: Pictures, isDoing = false): string {
  const { kind, pending, failed, params } = layer;
  const done = Math.max(0, total - unreadable - pending - failed);
  return [
    kind !== "drawn" && layer.state === "ready" && `${count(done)} of ${plural(total, "picture")}`,
    kind === "tile" &&
      layer.state === "ready" &&
      plural(done * tilesOf((params as { scales: number[] }).scales), "region"),
    pending > 0 && !isDoing && `${count(pending)} waiting`,
    failed && `${count(failed)} failed`,
  ]
    .filter(Boolean)
    .join(" · ");
}

/** What removing it takes away, and what it leaves. */
export function removal({ kind }: Pick<Layer, "kind">): string {
  if (kind === "drawn")
    return "The vectors of drawn regions will go. The regions themselves stay, with their labels.";
  const predictions = kind === "detected" ? ", and what the detector said of each picture" : "";
  return (
    `Its regions will go with their vectors${predictions}. Pictures and their labels stay, and regions that bear a label ` +
    "stay as drawn ones. To have the rest back, add it again: everything is made anew."
  );
}

/** What to look for, as it was typed: at commas and line ends apart, each once. */
export const wordsOf = (typed: string): string[] => [
  ...new Set(
    typed
      .split(/[,\n]/)
      .map((word) => word.trim())
      .filter(Boolean),
  ),
];

function regionsOf({ regions, items }: LayerCost, about: string): string {
  if (regions === null) return `told once it is fetched, for ${plural(items, "picture")}`;
  return items ? `${about}${count(regions)} in ${plural(items, "picture")}` : "none yet";
}

/** A cost as rows of a name and what there is to say. */
export function costOf(cost: LayerCost, perSecond: number | null): [string, string][] {
  const about = cost.is_exact ? "" : "about ";
  const rows: [string, string][] = [];
  if (cost.megabytes !== 0)
    rows.push(["Fetched first", cost.megabytes === null ? "its weights" : megabytes(cost.megabytes)]);
  rows.push(["Regions", regionsOf(cost, about)]);
  if (!cost.items) return rows;
  if (cost.vectors !== null) rows.push(["Vectors", `${about}${count(cost.vectors)}`]);
  if (cost.predictions) rows.push(["Predictions", `about ${count(cost.predictions)}`]);
  if (cost.size_bytes !== null) rows.push(["Disk", `about ${bytes(cost.size_bytes)}`]);
  if (cost.seconds !== null) rows.push(["Time", `about ${duration(cost.seconds)}`]);
  else if (perSecond) rows.push(["Time", `about ${duration(cost.items / perSecond)} to look at them`]);
  return rows;
}
