// The store shared with other nodes: which settings go together, and what they come to.
import type { S3Config } from "./config.ts";
import { type Entries, type Entry, problemAt, textOf } from "./entry.ts";
import type { Problem } from "./problem.ts";
import type { ReadFile } from "./read-text.ts";
import { accessKeyId, secretAccessKey } from "./s3-types.ts";
import type { Values } from "./schema.ts";
import { fixedSecret, type SecretSource } from "./secret.ts";
import { readSecretSettings } from "./secret-setting.ts";
import type { CommonKey } from "./settings.ts";

/** Secrets out of files; undefined where no file is set. */
interface S3SecretFiles {
  readonly accessKeyId: SecretSource | undefined;
  readonly secretAccessKey: SecretSource | undefined;
}

/** What is wrong between the settings of the shared store. */
function s3Problems(entries: Entries): Problem[] {
  const found = (...keys: readonly CommonKey[]): Entry[] =>
    keys.map((key) => entries.get(key)).filter((entry) => entry !== undefined);
  const problems: Problem[] = [];
  const [bucket] = found("s3.bucket");
  const [other] = [...entries].filter(([key]) => key.startsWith("s3.")).map(([, entry]) => entry);
  if (bucket === undefined && other !== undefined)
    problems.push(problemAt(other, "found this without a bucket, expected s3.bucket as well"));
  const ids = found("s3.accessKeyId", "s3.accessKeyIdFile");
  const secrets = found("s3.secretAccessKey", "s3.secretAccessKeyFile");
  for (const [first, second] of [ids, secrets]) {
    if (first !== undefined && second !== undefined)
      problems.push(problemAt(second, `found both this and ${first.label}, expected only one of the two`));
  }
  const [id] = ids;
  const [secret] = secrets;
  if (id !== undefined && secret === undefined) {
    const expected = "expected s3.secretAccessKey or s3.secretAccessKeyFile as well";
    problems.push(problemAt(id, `found an access key without its secret, ${expected}`));
  }
  if (id === undefined && secret !== undefined) {
    const expected = "expected s3.accessKeyId or s3.accessKeyIdFile as well";
    problems.push(problemAt(secret, `found a secret without an access key, ${expected}`));
  }
  const [keyId] = found("s3.sseKeyId");
  if (keyId !== undefined && textOf(entries.get("s3.sse"))?.toLowerCase() !== "aws:kms")
    problems.push(
      problemAt(keyId, "found a key without its kind of encryption, expected s3.sse: aws:kms as well"),
    );
  return problems;
}

/** Reads the files of secrets there are, and every problem between the settings. */
export function understandS3(
  entries: Entries,
  readFile: ReadFile,
): { readonly files: S3SecretFiles } | { readonly problems: readonly Problem[] } {
  const secrets = readSecretSettings(
    {
      accessKeyId: {
        entry: entries.get("s3.accessKeyIdFile"),
        kind: { word: "access key's id", type: accessKeyId },
      },
      secretAccessKey: {
        entry: entries.get("s3.secretAccessKeyFile"),
        kind: { word: "secret access key", type: secretAccessKey },
      },
    },
    readFile,
  );
  const problems = [...s3Problems(entries), ...secrets.problems];
  return problems.length === 0 ? { files: secrets.files } : { problems };
}

/** Undefined without a bucket. `values` and `files` were checked by `understandS3`. */
export function s3Config(values: Values<CommonKey>, files: S3SecretFiles): S3Config | undefined {
  const bucket = values["s3.bucket"];
  if (bucket === undefined) return undefined;
  const endpoint = values["s3.endpoint"];
  const source = (value: (typeof values)["s3.accessKeyId"], file: SecretSource | undefined) =>
    value === undefined ? file : fixedSecret(value);
  const id = source(values["s3.accessKeyId"], files.accessKeyId);
  const secret = source(values["s3.secretAccessKey"], files.secretAccessKey);
  return {
    endpoint,
    region: values["s3.region"],
    bucket,
    prefix: values["s3.prefix"] ?? "",
    pathStyle: values["s3.pathStyle"] ?? endpoint !== undefined,
    credentials:
      id === undefined || secret === undefined ? undefined : { accessKeyId: id, secretAccessKey: secret },
    encryption: encryption(values),
    maxSize: values["s3.maxSize"],
    redirectAbove: values["s3.redirectAbove"],
  };
}

function encryption(values: Values<CommonKey>): S3Config["encryption"] {
  const { "s3.sse": algorithm, "s3.sseKeyId": keyId } = values;
  if (algorithm === undefined) return undefined;
  return algorithm === "aws:kms" ? { algorithm, keyId } : { algorithm: "AES256" };
}
