// What a workspace shows, as it stands in its address: query, filter, order, threshold.

export type FilterValues = Record<string, string[]>;

/** How words are looked for in texts; "": by what they mean and by themselves. */
export type Mode = "" | "meaning" | "words";

export interface View {
  text: string;
  mode: Mode;
  like: number[];
  unlike: number[];
  /** Reference of an uploaded image. */
  image: string;
  filter: FilterValues;
  order: string;
  /** The cut: items below it are not meant. */
  min: number | null;
  /** The saved search that it was opened from, perhaps changed since. */
  saved: number | null;
}

export const EMPTY: View = {
  text: "",
  mode: "",
  like: [],
  unlike: [],
  image: "",
  filter: {},
  order: "",
  min: null,
  saved: null,
};

const OWN = new Set(["text", "mode", "like", "unlike", "image", "order", "min", "saved"]);

const ids = (raw: string | null) =>
  (raw ?? "")
    .split(",")
    .map(Number)
    .filter((id) => Number.isInteger(id) && id > 0);

export const modeOf = (raw: unknown): Mode => (raw === "meaning" || raw === "words" ? raw : "");

export function readView(query: URLSearchParams): View {
  const filter: FilterValues = {};
  for (const key of new Set(query.keys())) if (!OWN.has(key)) filter[key] = query.getAll(key);
  const min = query.get("min");
  return {
    text: query.get("text") ?? "",
    mode: modeOf(query.get("mode")),
    like: ids(query.get("like")),
    unlike: ids(query.get("unlike")),
    image: query.get("image") ?? "",
    filter,
    order: query.get("order") ?? "",
    min: min === null || Number.isNaN(Number(min)) ? null : Number(min),
    saved: ids(query.get("saved"))[0] ?? null,
  };
}

export function writeView(view: View): URLSearchParams {
  const query = new URLSearchParams();
  if (view.text) query.set("text", view.text);
  if (view.text && view.mode) query.set("mode", view.mode);
  if (view.like.length) query.set("like", view.like.join(","));
  if (view.unlike.length) query.set("unlike", view.unlike.join(","));
  if (view.image) query.set("image", view.image);
  for (const [key, value] of filterQuery(view.filter)) query.append(key, value);
  if (view.order) query.set("order", view.order);
  if (view.min !== null) query.set("min", String(view.min));
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
    ...(view.text && { text: view.text }),
    ...(view.text && view.mode && { mode: view.mode }),
    ...(view.like.length && { like: view.like }),
    ...(view.unlike.length && { unlike: view.unlike }),
    ...(view.image && { image: view.image }),
    ...(isFiltered(view) && { filter: filterBody(view.filter) }),
  };
}

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
export const chipText = (key: string, value: string): string =>
  FLAGS[key]?.[value] ??
  (key.startsWith("count.")
    ? `${key.replace("count.", "")} ${value}`
    : `${key.replace("metadata.", "").replace(/^not_/, "not ")}:${value}`);
