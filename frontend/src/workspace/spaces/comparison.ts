// Encoders side by side: what was measured, as a table to choose by.
import type { Comparison, Encoder } from "../../lib/api/client";
import { bytes, count, duration, percent } from "../../lib/format";

export type Result = NonNullable<Comparison["result"]>;
export type Measured = Result["measured"][number];

export const LEAST_ENCODERS = 2;
export const MOST_ENCODERS = 6;
const SAMPLES = [100, 250, 500, 1000, 2000];
const SAMPLE = 500;

/** Sizes of a sample that a dataset of so many items can be asked for, and the one that is proposed. */
export function samples(items: number): { sizes: number[]; proposed: number } {
  const sizes = SAMPLES.filter((_, at) => at === 0 || SAMPLES[at - 1]! < items);
  return { sizes, proposed: Math.min(SAMPLE, sizes.at(-1)!) };
}

/** One figure: a column of the table. */
export interface Figure {
  name: string;
  /** What it says, for somebody who has not met it before. */
  explained: string;
  /** Of the encoder as a whole, not of each of its outputs. */
  isOfEncoder: boolean;
  value: (one: Measured) => number | null;
  /** Whether more is better. */
  more: boolean;
  say: (value: number) => string;
  /** How far two values may differ and be as good, for all that measuring them can tell; with so many labelled items. */
  tolerance: (value: number, labeled: number) => number;
  margin?: (value: number, labeled: number) => string;
}

const none = () => 0;
/** Speed and memory differ by so much from one time to the next. */
const aTenth = (value: number) => value / 10;

export const FIGURES: Figure[] = [
  {
    name: "k-NN accuracy",
    explained:
      "The share of labelled items that most of their five nearest neighbours give their own label, the item itself left out. It tells how well Find Similar brings the same class.",
    isOfEncoder: false,
    value: (one) => one.knn_accuracy,
    more: true,
    say: (value) => `${(value * 100).toFixed(1)} %`,
    tolerance: standardError,
    margin: (value, labeled) => `± ${(100 * standardError(value, labeled)).toFixed(1)}`,
  },
  {
    name: "Separation",
    explained:
      "How far apart the classes lie: the mean silhouette, from −1 to 1. Near 1, every class is a heap of its own; near 0, they run into each other. It tells how well one cut through the scores can part them.",
    isOfEncoder: false,
    value: (one) => one.separation,
    more: true,
    say: (value) => value.toFixed(3).replace("-", "−"),
    tolerance: none,
  },
  {
    name: "Vectors",
    explained: "What the vectors of the whole dataset take on disk.",
    isOfEncoder: false,
    value: (one) => one.disk_bytes,
    more: false,
    say: bytes,
    tolerance: none,
  },
  {
    name: "Items a second",
    explained:
      "Measured here, with their files opened. Other work on this machine makes it less; loading the encoder is not counted.",
    isOfEncoder: true,
    value: (one) => one.per_second,
    more: true,
    say: (value) => (value < 10 ? value.toFixed(1) : count(Math.round(value))),
    tolerance: aTenth,
  },
  {
    name: "Whole dataset",
    explained: "How long the whole dataset takes to embed at that speed.",
    isOfEncoder: true,
    value: (one) => one.hours,
    more: false,
    say: (hours) => duration(hours * 3600),
    tolerance: aTenth,
  },
  {
    name: "Memory",
    explained: "What the encoder and the opening of files add to a process, at the most.",
    isOfEncoder: true,
    value: (one) => one.memory_bytes,
    more: false,
    say: bytes,
    tolerance: aTenth,
  },
];

/** From this share on, what other work took is worth a word. */
const MUCH = 0.15;

export const LICENSE_EXPLAINED =
  "The terms of the weights, as they state them. Read them before you rely on the encoder.";

export interface Cell {
  figure: Figure;
  text: string;
  margin: string;
  isBest: boolean;
}

export interface Row {
  one: Measured;
  /** Of this output. */
  cells: Cell[];
}

/** An encoder with a row for each of its outputs. */
export interface Group {
  encoder: string;
  title: string;
  license: string;
  runtime: string;
  rows: Row[];
  /** Of the encoder. */
  cells: Cell[];
}

/** The table: the best of each figure is marked, and all that are as good, unless every one is. */
export function table(result: Result): Group[] {
  const best = new Map(FIGURES.map((figure) => [figure, asGoodAsBest(figure, result)]));
  const cell = (figure: Figure, one: Measured): Cell => {
    const value = figure.value(one);
    return {
      figure,
      text: value === null ? "–" : figure.say(value),
      margin: value === null ? "" : (figure.margin?.(value, result.labeled) ?? ""),
      isBest: value !== null && !!best.get(figure)?.has(value),
    };
  };
  const groups = new Map<string, Group>();
  for (const one of result.measured) {
    const { encoder, title, license, runtime } = one;
    const known = groups.get(encoder) ?? {
      encoder,
      title,
      license,
      runtime,
      rows: [],
      cells: FIGURES.filter(({ isOfEncoder }) => isOfEncoder).map((figure) => cell(figure, one)),
    };
    const own = FIGURES.filter(({ isOfEncoder }) => !isOfEncoder);
    known.rows.push({ one, cells: own.map((figure) => cell(figure, one)) });
    groups.set(encoder, known);
  }
  return [...groups.values()];
}

function asGoodAsBest(figure: Figure, { measured, labeled }: Result): Set<number> {
  const values = measured.map(figure.value).filter((value) => value !== null);
  const best = figure.more ? Math.max(...values) : Math.min(...values);
  const within = figure.tolerance(best, labeled);
  const good = values.filter(
    (value) => Math.abs(value - best) <= within || figure.say(value) === figure.say(best),
  );
  return new Set(good.length < values.length ? good : []);
}

/** Of a share of `number` items. As Agresti & Coull (1998), so that a share of 1 has one. */
export function standardError(share: number, number: number): number {
  const pulled = (share * number + 2) / (number + 4);
  return Math.sqrt((pulled * (1 - pulled)) / (number + 4));
}

/** “500 of 34,475 items, 480 labelled (12 classes)”. */
export function sampleSaid({ items, sampled, labeled, classes }: Result): string {
  const of = sampled < items ? `${count(sampled)} of ${count(items)} items` : `All ${count(items)} items`;
  if (!labeled) return `${of}, none labelled`;
  const all = labeled === sampled ? "all labelled" : `${count(labeled)} labelled`;
  return `${of}, ${all} (${classes === 1 ? "one class" : `${count(classes)} classes`})`;
}

/** What must be known to read the figures rightly, a sentence each. */
export function notes(result: Result): string[] {
  const { measured, labeled, classes } = result;
  const said = [];
  if (!labeled)
    said.push("Without labels nothing tells which is right. Label some items, and compare again.");
  else if (classes === 1)
    said.push(
      "All labelled items have one class, so nothing tells them apart. Label some of another class, and compare again.",
    );
  else if (!result.is_told_by_labels)
    said.push("Few items are labelled: differences of accuracy within its ± may be chance.");
  const tried = firstOutputs(measured);
  for (const { title, failed, sampled } of tried)
    if (failed) said.push(`${title} made no vector of ${count(failed)} of ${count(failed + sampled)} items.`);
  const others = Math.max(...tried.map(({ others_share }) => others_share));
  if (others >= MUCH)
    said.push(
      `Other work took up to ${percent(others)} of the processors meanwhile: alone, the encoders are faster.`,
    );
  return said;
}

const firstOutputs = (measured: Measured[]) =>
  measured.filter(({ encoder }, at) => measured.findIndex((one) => one.encoder === encoder) === at);

/** A triangle: each row stops before its own column. */
export interface Matrix {
  columns: string[];
  rows: { title: string; cells: string[] }[];
}

/** What every two encoders have in common; null where labels tell more, or where there is one encoder only. */
export function matrix({ measured, overlap, is_told_by_labels }: Result): Matrix | null {
  const encoders = firstOutputs(measured);
  if (is_told_by_labels || encoders.length < 2) return null;
  const share = (one: Measured, other: Measured) =>
    overlap.find((pair) => pair.one === one.encoder && pair.other === other.encoder)?.share;
  const rows = encoders.map((own, at) => ({
    title: own.title,
    cells: encoders.slice(0, at).map((other) => {
      const found = share(other, own);
      return found === undefined ? "–" : percent(found);
    }),
  }));
  return { columns: encoders.slice(0, -1).map(({ title }) => title), rows: rows.slice(1) };
}

/** What a running comparison does: “Fetching 12.0 MB of 340.0 MB”, “Trying 2 of 3: starter”. */
export function doing(
  job: Pick<Comparison, "state" | "phase" | "done" | "total" | "eta_s" | "encoders">,
): string {
  if (job.state === "queued") return "Waiting for a worker, or for another comparison to end";
  if (job.phase === "prepare" && job.total) {
    const left = job.eta_s === null ? "" : ` · ${duration(job.eta_s)} left`;
    return `Fetching ${bytes(job.done)} of ${bytes(job.total)}${left}`;
  }
  const at = Math.min(job.done, job.encoders.length - 1);
  return `Trying ${at + 1} of ${job.encoders.length}: ${job.encoders[at]}`;
}

/** What is to be fetched before: “346 MB are fetched first.”, or "". */
export function toFetch(chosen: Pick<Encoder, "is_here" | "megabytes">[]): string {
  const away = chosen.filter(({ is_here }) => !is_here);
  if (!away.length) return "";
  if (away.some(({ megabytes }) => megabytes === null)) return "Weights that are not here are fetched first.";
  return `${count(away.reduce((sum, { megabytes }) => sum + (megabytes ?? 0), 0))} MB are fetched first.`;
}
