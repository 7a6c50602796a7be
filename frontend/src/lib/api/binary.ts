// Orders of items travel as bytes: all ids of a dataset under a filter, and all scores of a query.
import { request } from "./client";

export type Ids = Uint32Array | Float64Array;

/** What scores are worth in this search. */
export interface Calibration {
  /** Whether the best of it is more than what is ordinary here; null where too little is known to tell. */
  standsOut: boolean | null;
  suggestedCut: number | null;
  /** Of what is no example itself. */
  best: number | null;
  /** The score from which on an item stands out. */
  ordinary: number | null;
}

export const UNCALIBRATED: Calibration = { standsOut: null, suggestedCut: null, best: null, ordinary: null };

/** Items in the order in which the grid shows them. */
export interface Order {
  ids: Ids;
  /** One a position, falling; null when nothing is searched. */
  scores: Float32Array | null;
  /** The region that was best, one a position, 0 where the whole item was; null when only whole items were compared. */
  regions: Ids | null;
  /** Items under the filter, and those of them that have a vector. */
  total: number;
  embedded: number;
  isExact: boolean;
  tookMs: number;
  /** The reference of an uploaded query image. */
  image: string;
  /** Items that hold the words of a query; null where only likeness counts, and scores fall. */
  matched: number | null;
  /** Only the best are here yet. */
  isBeginning: boolean;
  calibration: Calibration;
}

export function readIds(buffer: ArrayBuffer, count: number, type: string | null): Ids {
  return type === "float64" ? new Float64Array(buffer, 0, count) : new Uint32Array(buffer, 0, count);
}

/** Ids from the first one and the length of each run of consecutive ones. */
export function expanded(runs: Ids, count: number): Ids {
  const ids = runs instanceof Float64Array ? new Float64Array(count) : new Uint32Array(count);
  let position = 0;
  for (let at = 0; at < runs.length; at += 2) {
    const [first, length] = [runs[at]!, runs[at + 1]!];
    for (let step = 0; step < length; step++) ids[position++] = first + step;
  }
  return ids;
}

export async function fetchIds(
  dataset: number,
  query: URLSearchParams,
  signal?: AbortSignal,
): Promise<Order> {
  const asked = new URLSearchParams([...query, ["runs", "true"]]);
  const response = await request(`/api/v1/datasets/${dataset}/ids/?${asked}`, { signal });
  const buffer = await response.arrayBuffer();
  const { headers } = response;
  const [count, runs] = [Number(headers.get("X-Count")), headers.get("X-Runs")];
  const read = readIds(buffer, runs === null ? count : 2 * Number(runs), headers.get("X-Id-Type"));
  const ids = runs === null ? read : expanded(read, count);
  return {
    ids,
    scores: null,
    regions: null,
    total: count,
    embedded: count,
    isExact: true,
    tookMs: 0,
    image: "",
    matched: null,
    isBeginning: false,
    calibration: UNCALIBRATED,
  };
}

export async function fetchRanking(
  dataset: number,
  query: object | FormData,
  signal?: AbortSignal,
): Promise<Order> {
  const isForm = query instanceof FormData;
  const response = await request(`/api/v1/datasets/${dataset}/ranking/`, {
    method: "POST",
    body: isForm ? query : JSON.stringify(query),
    headers: isForm ? {} : { "Content-Type": "application/json" },
    signal,
  });
  const buffer = await response.arrayBuffer();
  const header = (name: string) => response.headers.get(name) ?? "";
  const known = (name: string) => (header(name) === "" ? null : Number(header(name)));
  const count = Number(header("X-Count"));
  const ids = readIds(buffer, count, header("X-Id-Type"));
  const scores = new Float32Array(buffer, ids.byteLength, count);
  const type = header("X-Region-Id-Type");
  // They may begin where an array of their type may not.
  const regions = type ? readIds(buffer.slice(ids.byteLength + scores.byteLength), count, type) : null;
  return {
    ids,
    scores,
    regions,
    total: Number(header("X-Total")),
    embedded: Number(header("X-Embedded")),
    isExact: header("X-Exact") === "true",
    tookMs: Number(header("X-Took-Ms")),
    image: header("X-Query-Image"),
    matched: known("X-Matched"),
    isBeginning: count < Number(header("X-Embedded")),
    calibration: {
      standsOut: header("X-Stands-Out") === "" ? null : header("X-Stands-Out") === "true",
      suggestedCut: known("X-Suggested-Min-Score"),
      best: known("X-Best-Score"),
      ordinary: known("X-Ordinary-Score"),
    },
  };
}

/** `order` with those that have at least `minScore` first, each part as it was. Where words count too, scores do not fall. */
export function parted(order: Order, minScore: number | null): Order {
  const { scores } = order;
  if (minScore === null || !scores || order.matched === null) return order;
  const ids = new Float64Array(order.ids.length);
  const values = new Float32Array(scores.length);
  let at = 0;
  for (const isAbove of [true, false])
    for (let position = 0; position < scores.length; position++)
      if (scores[position]! >= minScore === isAbove) {
        ids[at] = order.ids[position]!;
        values[at++] = scores[position]!;
      }
  return { ...order, ids, scores: values };
}
