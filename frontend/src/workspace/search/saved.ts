// A saved search and the view that it opens.
import type { SavedSearch } from "../../lib/api/client";
import { EMPTY, modeOf, queryBody, writeView, type FilterValues, type View } from "../view";

type Saved = Pick<SavedSearch, "id" | "query" | "min_score">;

const OPEN = ["text", "mode", "like", "unlike", "image", "filter"];

/** What it shows when it is opened, or null: it holds what only the API can say. */
export function viewOf({ id, query, min_score }: Saved): View | null {
  if (Object.keys(query).some((key) => !OPEN.includes(key))) return null;
  const filter = filterOf((query.filter ?? {}) as Record<string, unknown>);
  const ids = (value: unknown) => (Array.isArray(value) ? value : value ? [value] : []);
  const [like, unlike] = [ids(query.like), ids(query.unlike)];
  if (!filter || ![...like, ...unlike].every(Number.isInteger)) return null;
  return {
    ...EMPTY,
    text: String(query.text ?? ""),
    mode: modeOf(query.mode),
    like: like as number[],
    unlike: unlike as number[],
    image: String(query.image ?? ""),
    filter,
    min: min_score,
    saved: id,
  };
}

function filterOf(raw: Record<string, unknown>): FilterValues | null {
  const filter: FilterValues = {};
  for (const [key, value] of Object.entries(raw)) {
    const isMap = typeof value === "object" && value !== null && !Array.isArray(value);
    // As an address says it: count.person, color.red.
    if (isMap && (key === "count" || key === "color")) {
      for (const [name, one] of Object.entries(value)) filter[`${key}.${name}`] = [String(one)];
      continue;
    }
    const values: unknown[] = Array.isArray(value) ? value : [value];
    if (values.some((one) => typeof one === "object")) return null;
    filter[key] = values.map(String);
  }
  return filter;
}

/** What of a view is saved. */
export const toSave = (view: View) => ({
  query: queryBody(view) as Record<string, unknown>,
  min_score: view.min,
});

/** Whether the view has been changed since it was opened. */
export function isChanged(view: View, saved: Saved): boolean {
  const opened = viewOf(saved);
  const words = (one: View) => writeView({ ...one, order: "", saved: null }).toString();
  return !opened || words(opened) !== words(view);
}
