const numbers = new Intl.NumberFormat("en");
const times = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export const count = (value: number): string => numbers.format(value);

export const plural = (value: number, noun: string): string =>
  `${count(value)} ${noun}${value === 1 ? "" : "s"}`;

export const percent = (share: number): string =>
  share > 0 && share < 0.01 ? "< 1 %" : `${Math.round(share * 100)} %`;

export const time = (iso: string): string => times.format(new Date(iso));

/** “now”, “4 min”, “3 h”, “2 days”. */
export function ago(iso: string, now = Date.now()): string {
  const seconds = (now - Date.parse(iso)) / 1000;
  if (seconds < 60) return "now";
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.round(seconds / 3600)} h`;
  const days = Math.round(seconds / 86_400);
  return days === 1 ? "1 day" : `${days} days`;
}

export function duration(seconds: number): string {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

export function bytes(size: number): string {
  if (size < 1024) return `${size} B`;
  if (size < 1 << 20) return `${Math.round(size / 1024)} kB`;
  if (size < 1 << 30) return `${(size / (1 << 20)).toFixed(1)} MB`;
  return `${(size / (1 << 30)).toFixed(1)} GB`;
}

/** “81 MB”, “1.5 GB”: what weights weigh, as their pages say it. */
export const megabytes = (size: number): string =>
  size < 1000 ? `${count(size)} MB` : `${(size / 1000).toFixed(1)} GB`;

export const initials = (name: string): string => name.slice(0, 2).toUpperCase();
