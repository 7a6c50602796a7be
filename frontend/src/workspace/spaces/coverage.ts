// How full the spaces of an encoder are, in words.
import type { Job, Space } from "../../lib/api/client";
import { bytes, count, duration } from "../../lib/format";

/** An encoder of the dataset with all its spaces. They are filled together. */
export interface Filled {
  encoder: string;
  spaces: Space[];
}

export function byEncoder(spaces: Space[]): Filled[] {
  const found = new Map<string, Space[]>();
  for (const space of spaces) found.set(space.encoder, [...(found.get(space.encoder) ?? []), space]);
  return [...found].map(([encoder, own]) => ({ encoder, spaces: own }));
}

type Counts = Pick<Space, "embedded" | "total" | "pending" | "failed" | "job">;

/** Items that have no vector, did not fail, and that nothing waits for: a canceled job left them. */
export const leftOut = ({ embedded, total, pending, failed, job }: Counts, unreadable: number): number =>
  job === null ? Math.max(0, total - embedded - failed - pending - unreadable) : 0;

/** “34,330 of 34,475 embedded · 145 failed”. */
export function coverage(counts: Counts, unreadable: number): string {
  const { embedded, total, pending, failed } = counts;
  if (!total) return "No items yet";
  const rest = leftOut(counts, unreadable);
  return [
    `${count(embedded)} of ${count(total)} embedded`,
    pending && `${count(pending)} waiting`,
    failed && `${count(failed)} failed`,
    unreadable && `${count(unreadable)} unreadable`,
    rest && `${count(rest)} left out`,
  ]
    .filter(Boolean)
    .join(" · ");
}

const DOING: Record<string, string> = {
  thumbnails: "Reading",
  regions: "Making regions",
  removal: "Removing",
};

/** What a job does now: “Fetching 12.0 MB of 340.0 MB · 2 min left”, “Embedding · 312/s · 40 s left”. */
export function progress(job: Pick<Job, "state" | "phase" | "done" | "total" | "rate" | "eta_s">): string {
  if (job.state === "queued") return "Waiting for a worker";
  const left = job.eta_s === null ? "" : `${duration(job.eta_s)} left`;
  if (job.phase === "prepare") {
    const come = job.total ? `Fetching ${bytes(job.done)} of ${bytes(job.total)}` : "Fetching";
    return [come, job.rate && `${bytes(job.rate)}/s`, left].filter(Boolean).join(" · ");
  }
  const rate = job.rate && `${job.rate < 10 ? job.rate.toFixed(1) : count(Math.round(job.rate))}/s`;
  return [DOING[job.phase] ?? "Embedding", rate, left].filter(Boolean).join(" · ");
}
