// What is typed into the search bar: words, and `key:value` filters (`label:"stop sign"`, `split:train`, `unlabeled`).
import type { FilterValues } from "../view";

const KEYS = new Set([
  "label", "not_label", "status", "split", "tag", "duplicates", "source", "annotator", "brightness", "sharpness", "contrast", "width",
  "height", "aspect", "created_after", "text_contains", "key_contains", "min_confidence", "max_confidence",
]); // prettier-ignore

const TOKEN = /(-?)([\w.]+):(?:"([^"]*)"|(\S+))|"([^"]*)"|\S+/g;

export interface Typed {
  words: string;
  filter: FilterValues;
}

export function parse(typed: string): Typed {
  const words: string[] = [];
  const filter: FilterValues = {};
  const add = (key: string, value: string) => (filter[key] ??= []).push(value);
  for (const [token, minus, key, quoted, plain, phrase] of typed.matchAll(TOKEN)) {
    const value = quoted ?? plain ?? "";
    if (token === "unlabeled" || token === "label:unlabeled") add("unlabeled", "true");
    else if (key === "label" && minus) add("not_label", value);
    else if (
      key &&
      !minus &&
      value &&
      (KEYS.has(key) || key.startsWith("metadata.") || key.startsWith("color."))
    )
      add(key, value);
    else words.push(phrase ?? token);
  }
  return { words: words.join(" "), filter };
}
