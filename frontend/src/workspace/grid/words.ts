// Which parts of a text the words of a query stand in.

export interface Part {
  text: string;
  isFound: boolean;
}

/** `text` in parts; a word is found where it begins a word, whatever its case, and a "quoted phrase" as a whole. Words of one or
 * two letters are not marked, nor -those that are to be absent. */
export function marked(text: string, query: string): Part[] {
  const wanted = query.toLowerCase().replace(/(?<!\S)-(?:"[^"]*"?|\S+)/gu, " ");
  const phrases = [...wanted.matchAll(/"([^"]*)"?/gu)].map(([, phrase]) =>
    (phrase!.match(/[\p{L}\p{N}]+/gu) ?? []).join("[^\\p{L}\\p{N}]+"),
  );
  const words = (wanted.replace(/"[^"]*"?/gu, " ").match(/[\p{L}\p{N}]{3,}/gu) ?? []).map(
    (word) => `${word}[\\p{L}\\p{N}]*`,
  );
  const sought = [
    ...new Set([...phrases.filter(Boolean).map((phrase) => `${phrase}(?![\\p{L}\\p{N}])`), ...words]),
  ];
  if (!sought.length) return [{ text, isFound: false }];
  const pattern = new RegExp(`(?<![\\p{L}\\p{N}])(?:${sought.join("|")})`, "giu");
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
