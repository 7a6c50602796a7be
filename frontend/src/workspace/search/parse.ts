// What is typed into the search bar: words, `key:value` filters (`label:"stop sign"`, `split:train`, `unlabeled`), and
// numbers of objects that a detector saw (`person>2`, `"traffic light"=0`).
import type { FilterValues } from "../view";

const KEYS = new Set([
  "label", "not_label", "status", "split", "tag", "duplicates", "source", "annotator", "brightness", "sharpness", "contrast", "width",
  "height", "aspect", "created_after", "text_contains", "key_contains", "min_confidence", "max_confidence", "objects",
  "not_status", "not_split", "not_tag", "predicted", "model", "disagrees", "finding", "finding_state",
]); // prettier-ignore
/** `-tag:night` is `not_tag:night`. */
const NEGATABLE = new Set(["label", "tag", "split", "status"]);
/** Filters that are said in one word. */
const FLAGS: Record<string, [string, string]> = {
  unlabeled: ["unlabeled", "true"],
  "label:unlabeled": ["unlabeled", "true"],
  "-unlabeled": ["unlabeled", "false"],
  "unlabeled:false": ["unlabeled", "false"],
  "-label:unlabeled": ["unlabeled", "false"],
  disagrees: ["disagrees", "true"],
  "-disagrees": ["disagrees", "false"],
};

const COUNT = /(?:"([^"]+)"|([\p{L}_-]+))(>=|<=|>|<|=)(\d+)(?!\S)/u.source;
const TOKEN = new RegExp(`${COUNT}|(-?)([\\w.]+):(?:"([^"]*)"|(\\S+))|"([^"]*)"|\\S+`, "gu");

export interface Typed {
  words: string;
  filter: FilterValues;
}

/** With `keepsQuotes`, `"two words"` stay a phrase: texts hold them as such. */
export function parse(typed: string, keepsQuotes = false): Typed {
  const words: string[] = [];
  const filter: FilterValues = {};
  const add = (key: string, value: string) => (filter[key] ??= []).push(value);
  for (const match of typed.matchAll(TOKEN)) {
    const [token, quotedClass, plainClass, sign, number, minus, key, quoted, plain, phrase] = match;
    const value = quoted ?? plain ?? "";
    if (number) add(`count.${quotedClass ?? plainClass}`, sign + number);
    else if (FLAGS[token]) add(...FLAGS[token]);
    else if (key && minus && value && NEGATABLE.has(key)) add(`not_${key}`, value);
    else if (
      key &&
      !minus &&
      value &&
      (KEYS.has(key) || key.startsWith("metadata.") || key.startsWith("color."))
    )
      add(key, value);
    else words.push(keepsQuotes ? token : (phrase ?? token));
  }
  return { words: words.join(" "), filter };
}
