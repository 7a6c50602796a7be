// A saved search and the view that it opens.
import type { SavedSearch } from "../../lib/api/client";
import type { Example, Four, Part } from "./examples";
import { EMPTY, modeOf, queryBody, writeView, type FilterValues, type View } from "../view";

type Saved = Pick<SavedSearch, "id" | "query" | "min_score">;

const OPEN = [
  "text",
  "literal",
  "mode",
  "like",
  "unlike",
  "image",
  "image_box",
  "image_polygon",
  "regions",
  "filter",
];

/** What it shows when it is opened, or null: it holds what only the API can say. */
export function viewOf({ id, query, min_score }: Saved): View | null {
  if (Object.keys(query).some((key) => !OPEN.includes(key))) return null;
  const filter = filterOf((query.filter ?? {}) as Record<string, unknown>);
  if (!filter) return null;
  return {
    ...EMPTY,
    text: String(query.text ?? ""),
    literal: Boolean(query.text && query.literal),
    mode: modeOf(query.mode),
    like: examples(query.like),
    unlike: examples(query.unlike),
    image: String(query.image ?? ""),
    imagePart: imagePart(query),
    regions: typeof query.regions === "boolean" ? query.regions : null,
    filter,
    min: min_score,
    saved: id,
  };
}

function imagePart({ image_box, image_polygon }: Saved["query"]): Part | null {
  if (image_polygon) return { polygon: image_polygon as Part["polygon"] & object };
  return image_box ? { box: image_box as Four } : null;
}

const examples = (raw: unknown): Example[] => (Array.isArray(raw) ? raw : raw ? [raw] : []) as Example[];

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
    if (key === "objects") {
      filter[key] = values.map((one) => JSON.stringify(one));
      continue;
    }
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
  // What was said and how it was read have become words and filter.
  const words = (one: View) =>
    writeView({ ...one, order: "", saved: null, said: "", literal: false }).toString();
  return !opened || words(opened) !== words(view);
}
