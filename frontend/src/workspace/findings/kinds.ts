// Kinds of findings in the words of the page.

interface Kind {
  /** In lists, beside a number. */
  name: string;
  /** Of one item. */
  one: string;
  what: string;
}

/** In the order in which people look at them. */
export const KINDS: Record<string, Kind> = {
  label_error: {
    name: "Label errors",
    one: "label error",
    what: "The label is probably wrong; another one is suggested.",
  },
  conflict: {
    name: "Conflicts",
    one: "conflict",
    what: "Two people, or a model and the label, say different classes.",
  },
  outlier: {
    name: "Outliers",
    one: "outlier",
    what: "Unlike everything else, or unlike the others of their class.",
  },
  duplicate: {
    name: "Duplicates",
    one: "duplicate",
    what: "The same as another item, or nearly; the best of each group stays.",
  },
  leak: {
    name: "Leaks",
    one: "leak",
    what: "In one split, and the same as an item of the training split, or nearly.",
  },
  quality: {
    name: "Quality",
    one: "bad quality",
    what: "Dark, bright, flat, blurred, tiny or oddly shaped; texts that say nothing.",
  },
};

export const nameOf = (kind: string): string => KINDS[kind]?.name ?? kind;

/** The filter's value as a chip says it: one kind, several with commas, or any. */
export const findingText = (value: string): string =>
  value === "any"
    ? "any finding"
    : value
        .split(",")
        .map((kind) => KINDS[kind.trim()]?.one ?? kind.trim())
        .join(" or ");

/** What a job found, kind by kind, in the order of the page. */
export interface Looked {
  kind: string;
  open: number;
  note: string;
}

export function looked(result: Record<string, unknown>): Looked[] {
  const kinds = (result.kinds ?? {}) as Record<string, { open: number; note: string }>;
  return Object.keys(KINDS).flatMap((kind) => (kinds[kind] ? [{ kind, ...kinds[kind] }] : []));
}
