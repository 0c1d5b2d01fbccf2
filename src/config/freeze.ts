// A configuration that cannot be changed after it was checked.

/** Freezes plain objects and arrays all the way down, and URLs, whose setters Object.freeze does not stop. */
export function deepFreeze<T>(value: T): T {
  if (value instanceof URL) freezeUrl(value);
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const each of Object.values(value)) deepFreeze(each);
  }
  return value;
}

const urlParts = [
  "href",
  "protocol",
  "username",
  "password",
  "host",
  "hostname",
  "port",
  "pathname",
  "search",
  "hash",
];

/** Own read-only properties hide the prototype's setters: assigning to one then throws. */
function freezeUrl(url: URL): void {
  for (const part of urlParts) {
    Object.defineProperty(url, part, { value: Reflect.get(url, part), enumerable: false });
  }
  Object.defineProperty(url, "searchParams", {
    get: () => new URLSearchParams(url.search),
    enumerable: false,
  });
}
