// Numbers as people read them. Runs in the browser too.

const sizeUnits = ["B", "kB", "MB", "GB", "TB", "PB"];

/** Decimal units: `1.5 GB`. */
export function size(bytes: number): string {
  let value = Math.max(0, bytes);
  let unit = 0;
  while (value >= 999.5 && unit < sizeUnits.length - 1) {
    value /= 1000;
    unit++;
  }
  const digits = unit === 0 || value >= 99.5 ? 0 : value >= 9.95 ? 1 : 2;
  return `${value.toFixed(digits)} ${sizeUnits[unit]}`;
}

export function rate(bytesPerSecond: number): string {
  return `${size(bytesPerSecond)}/s`;
}

/** One unit: `850 ms`, `12 s`, `3 min`, `5 h`, `2 days`. */
export function duration(milliseconds: number): string {
  const ms = Math.max(0, milliseconds);
  if (ms < 999.5) return `${ms < 9.95 && ms > 0 ? ms.toFixed(1) : Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 99.5) return `${seconds < 9.95 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const minutes = seconds / 60;
  if (minutes < 99.5) return `${Math.round(minutes)} min`;
  const hours = minutes / 60;
  if (hours < 47.5) return `${Math.round(hours)} h`;
  return `${Math.round(hours / 24)} days`;
}

/** `12.3%`; a dash for what is not known. Only what is all of it is 100%. */
export function share(ratio: number | null): string {
  if (ratio === null) return "–";
  const percent = ratio * 100;
  return `${percent === 0 || percent === 100 ? percent : Math.min(99.9, percent).toFixed(1)}%`;
}

/** `1 tag`, `1,234 tags`. */
export function count(amount: number, thing: string): string {
  return `${number(amount)} ${thing}${amount === 1 ? "" : "s"}`;
}

/** Groups of three digits. */
export function number(amount: number): string {
  return String(Math.round(amount)).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** `sha256:0123456789ab`: enough to find it again. */
export function shortDigest(digest: string): string {
  const colon = digest.indexOf(":");
  return digest.slice(0, colon + 13);
}

/** Decimal units, also of what is below 0: `−1.5 GB`. */
export function signedSize(bytes: number): string {
  return bytes < 0 ? `−${size(-bytes)}` : size(bytes);
}

/** To a hundredth; a dash where no price is known. */
export function money(amount: number | null, currency: string | null): string {
  if (amount === null) return "–";
  return currency === null ? amount.toFixed(2) : `${amount.toFixed(2)} ${currency}`;
}
