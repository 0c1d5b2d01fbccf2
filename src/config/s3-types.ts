// The zod types of the settings of the shared store.
import type { Parsed } from "./parsed.ts";
import { parsedBy } from "./parsed-by.ts";
import { Secret } from "./secret.ts";

/** The address of a server; its path, where it has one, is kept without the slash at its end. */
export const endpoint = parsedBy((input): Parsed<URL> => {
  const text = input.trim();
  const url = /^https?:\/\/[^\s\\]+$/i.test(text) ? URL.parse(text) : null;
  if (url === null) return { expected: "an http or https URL, such as https://s3.example.com" };
  if (text.includes("@")) return { expected: "no credentials in the URL: they belong in the access key" };
  if (/[?#]/.test(text)) return { expected: "a URL without a query or a fragment" };
  url.pathname = url.pathname.replace(/\/+$/, "");
  return { value: url };
});

export const region = parsedBy((input): Parsed<string> => {
  const text = input.trim();
  return /^[a-z0-9-]{1,64}$/i.test(text) ? { value: text } : { expected: "a region such as eu-central-1" };
});

/** AWS allows less ("Bucket naming rules"), but others have buckets from before there were rules. */
export const bucket = parsedBy((input): Parsed<string> => {
  const text = input.trim();
  return /^[a-z0-9][a-z0-9._-]{1,253}[a-z0-9]$/i.test(text)
    ? { value: text }
    : { expected: "the name of a bucket, without s3:// and without a path" };
});

/** Ends in a slash, whether it was written or not; the characters that need no care ("Naming Amazon S3 objects"). */
export const prefix = parsedBy((input): Parsed<string> => {
  const text = input.trim().replace(/\/$/, "");
  const parts = text.split("/");
  const plain = parts.every((part) => /^[\w.!*'()-]+$/.test(part) && !/^\.+$/.test(part));
  return plain && text.length <= 512
    ? { value: `${text}/` }
    : { expected: "a path such as mirror/eu, of letters, digits and - _ . ! * ' ( )" };
});

export const accessKeyId = parsedBy((input): Parsed<Secret> => {
  const text = input.trim();
  return /^[\x21-\x7e]{1,256}$/.test(text)
    ? { value: new Secret(text) }
    : { expected: "an access key's id of 1 to 256 characters without spaces" };
});

export const secretAccessKey = parsedBy((input): Parsed<Secret> => {
  const text = input.trim();
  return /^[\x21-\x7e]{1,4096}$/.test(text)
    ? { value: new Secret(text) }
    : { expected: "a secret access key of 1 to 4096 characters without spaces" };
});

/** The name, ARN or alias of a key of AWS KMS. */
export const keyId = parsedBy((input): Parsed<string> => {
  const text = input.trim();
  return /^[\x21-\x7e]{1,2048}$/.test(text) ? { value: text } : { expected: "the id, alias or ARN of a key" };
});
