// The palette that the server gives to new classes, as tokens, so that each theme shows its own shade.
const PALETTE = [
  "#3b6fd8", "#d9742b", "#2f9a68", "#c9456a", "#8a5cd0", "#a98a12", "#1d93a8", "#b3552f", "#6b8f2a", "#b04fb0", "#5f7488",
  "#d1558c",
]; // prettier-ignore

export function shown(color: string): string {
  const index = PALETTE.indexOf(color.toLowerCase());
  return index < 0 ? color : `var(--c${index + 1})`;
}
