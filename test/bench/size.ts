// Sizes of blobs.

export const mebibyte = 1024 * 1024;
/** What throughput is counted in. */
export const gigabyte = 1e9;

/** A whole number of KiB, MiB or GiB. */
export function sizeText(bytes: number): string {
  if (bytes >= 1024 * mebibyte) return `${bytes / (1024 * mebibyte)} GiB`;
  return bytes >= mebibyte ? `${bytes / mebibyte} MiB` : `${bytes / 1024} KiB`;
}
