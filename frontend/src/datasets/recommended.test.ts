import { describe, expect, test } from "vitest";
import type { Detector, Encoder } from "../lib/api/client";
import { effort, pairOf } from "./recommended";

const offer = { available: true, is_recommended: true, is_here: false };
const encoder = {
  ...offer,
  name: "siglip",
  modalities: ["image"],
  megabytes: 1500,
  per_second: 20,
} as Encoder;
const detector = { ...offer, name: "rtdetr", megabytes: 81, per_second: 20 } as Detector;

describe("what is proposed", () => {
  test("is the recommended pair", () => {
    expect(pairOf([{ ...encoder, is_recommended: false }, encoder], [detector])).toEqual({
      encoder,
      detector,
    });
  });
  test("is nothing where one of them cannot be had", () => {
    expect(pairOf([{ ...encoder, available: false }], [detector])).toBeNull();
    expect(pairOf([encoder], [])).toBeNull();
    expect(pairOf([{ ...encoder, modalities: ["text"] }], [detector])).toBeNull();
  });
});

describe("what it takes", () => {
  test("is a size and a time for the files chosen", () => {
    expect(effort({ encoder, detector }, 12_000)).toBe(
      "1.6 GB to fetch once, about 20 min for these 12,000 pictures here",
    );
    expect(effort({ encoder, detector }, 0)).toBe(
      "1.6 GB to fetch once, about 2 min for 1,000 pictures here",
    );
  });
  test("leaves out what is not known", () => {
    expect(effort({ encoder, detector: { ...detector, per_second: null } }, 12)).toBe("1.6 GB to fetch once");
    const here = { is_here: true, megabytes: 0, per_second: null };
    expect(effort({ encoder: { ...encoder, ...here }, detector: { ...detector, ...here } }, 12)).toBe(
      "on this machine already",
    );
  });
});
