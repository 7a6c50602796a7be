// Orders of items travel as bytes: all ids of a dataset under a filter, and all scores of a query.
import { request } from "./client";

export type Ids = Uint32Array | Float64Array;

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
}

export function readIds(buffer: ArrayBuffer, count: number, type: string | null): Ids {
  return type === "float64" ? new Float64Array(buffer, 0, count) : new Uint32Array(buffer, 0, count);
}

export async function fetchIds(
  dataset: number,
  query: URLSearchParams,
  signal?: AbortSignal,
): Promise<Order> {
  const response = await request(`/api/v1/datasets/${dataset}/ids/?${query}`, { signal });
  const buffer = await response.arrayBuffer();
  const count = Number(response.headers.get("X-Count"));
  const ids = readIds(buffer, count, response.headers.get("X-Id-Type"));
  return {
    ids,
    scores: null,
    regions: null,
    total: count,
    embedded: count,
    isExact: true,
    tookMs: 0,
    image: "",
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
  };
}
