// Which parts of a text the words of a query stand in.

export interface Part {
  text: string;
  isFound: boolean;
}

/** `text` in parts; a word is found where it begins a word, whatever its case. Words of one or two letters are not marked. */
export function marked(text: string, query: string): Part[] {
  const words = [...new Set(query.toLowerCase().match(/[\p{L}\p{N}]{3,}/gu) ?? [])];
  if (!words.length) return [{ text, isFound: false }];
  const pattern = new RegExp(`(?<![\\p{L}\\p{N}])(${words.join("|")})[\\p{L}\\p{N}]*`, "giu");
  const parts: Part[] = [];
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    if (match.index > end) parts.push({ text: text.slice(end, match.index), isFound: false });
    parts.push({ text: match[0], isFound: true });
    end = match.index + match[0].length;
  }
  if (end < text.length) parts.push({ text: text.slice(end), isFound: false });
  return parts;
}
