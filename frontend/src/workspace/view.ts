// What a workspace shows, as it stands in its address: query, filter, order, threshold.
import { findingText } from "./findings/kinds";
import { countTyped, objectsText, objectsTyped } from "./search/objects";

import {
  distinct,
  readBox,
  readExamples,
  readPolygon,
  writeBox,
  writeExamples,
  writePolygon,
  type Example,
  type Part,
} from "./search/examples";

export type FilterValues = Record<string, string[]>;

/** How words are looked for in texts; "": by what they mean and by themselves. */
export type Mode = "" | "meaning" | "words";

export interface View {
  text: string;
  mode: Mode;
  like: Example[];
  unlike: Example[];
  /** Reference of an uploaded image, and the part of it that is meant. */
  image: string;
  imagePart: Part | null;
  /** Whether items are searched by their regions too; null: when an example is an area. */
  regions: boolean | null;
  filter: FilterValues;
  order: string;
  /** The cut: items below it are not meant. */
  min: number | null;
  /** The words as they were typed, when more than words was understood of them: the rest of them is `text`. */
  said: string;
  /** The text is words, whatever could be understood of it. */
  literal: boolean;
  /** The saved search that it was opened from, perhaps changed since. */
  saved: number | null;
}

export const EMPTY: View = {
  text: "",
  mode: "",
  like: [],
  unlike: [],
  image: "",
  imagePart: null,
  regions: null,
  filter: {},
  order: "",
  min: null,
  said: "",
  literal: false,
  saved: null,
};

const OWN = new Set([
  "text", "mode", "like", "unlike", "image", "image_box", "image_polygon", "regions", "order", "min", "said", "literal", "saved",
]); // prettier-ignore
const SWITCH: Record<string, boolean> = { on: true, off: false };

export const modeOf = (raw: unknown): Mode => (raw === "meaning" || raw === "words" ? raw : "");

const savedOf = (raw: string | null) => {
  const id = Number(raw);
  return Number.isInteger(id) && id > 0 ? id : null;
};

export function readView(query: URLSearchParams): View {
  const filter: FilterValues = {};
  for (const key of new Set(query.keys())) if (!OWN.has(key)) filter[key] = query.getAll(key);
  const min = query.get("min");
  return {
    text: query.get("text") ?? "",
    mode: modeOf(query.get("mode")),
    like: distinct(readExamples(query.get("like"))),
    unlike: distinct(readExamples(query.get("unlike"))),
    image: query.get("image") ?? "",
    imagePart: readImagePart(query),
    regions: SWITCH[query.get("regions") ?? ""] ?? null,
    filter,
    order: query.get("order") ?? "",
    min: min === null || Number.isNaN(Number(min)) ? null : Number(min),
    said: query.get("said") ?? "",
    literal: query.get("literal") === "1",
    saved: savedOf(query.get("saved")),
  };
}

function readImagePart(query: URLSearchParams): Part | null {
  if (!query.get("image")) return null;
  return readBox(query.get("image_box") ?? "") ?? readPolygon(query.get("image_polygon") ?? "");
}

export function writeView(view: View): URLSearchParams {
  const query = new URLSearchParams();
  if (view.text) query.set("text", view.text);
  if (view.text && view.mode) query.set("mode", view.mode);
  if (view.like.length) query.set("like", writeExamples(view.like));
  if (view.unlike.length) query.set("unlike", writeExamples(view.unlike));
  if (view.image) query.set("image", view.image);
  if (view.image && view.imagePart?.box) query.set("image_box", writeBox(view.imagePart));
  if (view.image && view.imagePart?.polygon) query.set("image_polygon", writePolygon(view.imagePart));
  if (view.regions !== null) query.set("regions", view.regions ? "on" : "off");
  for (const [key, value] of filterQuery(view.filter)) query.append(key, value);
  if (view.order) query.set("order", view.order);
  if (view.min !== null) query.set("min", String(view.min));
  if (view.said) query.set("said", view.said);
  if (view.literal) query.set("literal", "1");
  if (view.saved !== null) query.set("saved", String(view.saved));
  return query;
}

export function filterQuery(filter: FilterValues): URLSearchParams {
  const query = new URLSearchParams();
  for (const key of Object.keys(filter).sort())
    for (const value of filter[key] ?? []) query.append(key, value);
  return query;
}

/** Whether something is searched, so that items have scores. */
export const isSearch = (view: View): boolean => Boolean(view.text || view.like.length || view.image);

export const isFiltered = (view: View): boolean => Object.keys(view.filter).length > 0;

/** The filter as the API's bodies take it. */
export function filterBody(filter: FilterValues): Record<string, string | string[]> {
  return Object.fromEntries(
    Object.entries(filter).map(([key, values]) => [key, values.length === 1 ? values[0]! : values]),
  );
}

/** The query as the API's bodies take it. */
export function queryBody(view: View) {
  return {
    // What could be understood of the words stands in the filter already.
    ...(view.text && { text: view.text, literal: true }),
    ...(view.text && view.mode && { mode: view.mode }),
    ...(view.like.length && { like: view.like }),
    ...(view.unlike.length && { unlike: view.unlike }),
    ...(view.image && { image: view.image, ...imagePartBody(view.imagePart) }),
    ...(view.regions !== null && { regions: view.regions }),
    ...(isFiltered(view) && { filter: filterBody(view.filter) }),
  };
}

const imagePartBody = (part: Part | null) =>
  part?.polygon ? { image_polygon: part.polygon } : part?.box ? { image_box: part.box } : {};

/** `view` with `value` of the facet `key` switched on or off. */
export function toggled(view: View, key: string, value: string, only = true): View {
  const present = view.filter[key] ?? [];
  const values = present.includes(value)
    ? present.filter((one) => one !== value)
    : only
      ? [value]
      : [...present, value];
  return withFilter(view, key, values);
}

export function withFilter(view: View, key: string, values: string[]): View {
  const filter = { ...view.filter };
  if (values.length) filter[key] = values;
  else delete filter[key];
  return { ...view, filter };
}

const FLAGS: Record<string, Record<string, string>> = {
  unlabeled: { true: "unlabeled", false: "labeled" },
  disagrees: { true: "disagrees with its label", false: "does not disagree" },
};

/** A filter value as a chip says it. */
export function chipText(key: string, value: string): string {
  const flag = FLAGS[key]?.[value];
  if (flag) return flag;
  if (key === "objects") return objectsText(value);
  if (key === "finding") return findingText(value);
  if (key === "finding_state") return `findings:${value}`;
  if (key.startsWith("count.")) return `${key.replace("count.", "")} ${value}`;
  return `${key.replace("metadata.", "").replace(/^not_/, "not ")}:${value}`;
}

const MEASURED = /^(brightness|contrast|sharpness|width|height|aspect|color\..+)$/;

/** Who answers a filter that is no fact somebody has given. */
export const chipSource = (key: string): string =>
  key === "objects" || key.startsWith("count.") ? "from detections" : MEASURED.test(key) ? "measured" : "";

/** A filter value as it is typed into the search bar. */
export function typedForm(key: string, value: string): string {
  const quoted = (text: string) => (/\s/.test(text) ? `"${text}"` : text);
  if (key === "unlabeled") return value === "true" ? "unlabeled" : "-unlabeled";
  if (key === "objects") return objectsTyped(value);
  if (key === "disagrees") return value === "true" ? "disagrees" : "-disagrees";
  if (key.startsWith("not_")) return `-${key.replace("not_", "")}:${quoted(value)}`;
  if (!key.startsWith("count.")) return `${key}:${quoted(value)}`;
  const name = key.replace("count.", "");
  return /^(>=|<=|>|<|=)\d+$/.test(value) ? quoted(name) + value : (countTyped(value, name) ?? name);
}
