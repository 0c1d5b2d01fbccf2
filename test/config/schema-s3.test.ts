import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { renderConfig } from "../../src/config/print.ts";
import { configOf, type Given, loadedFrom, problemsOf, upstreamUrl } from "../fixtures/loading.ts";

const env = upstreamUrl;
const s3Of = (given: Given) => configOf({ env, ...given }).s3;
const problems = (yaml: string, more: Given = {}) => problemsOf({ env, yaml, ...more });

t.test("without the section nothing is shared", async (t) => {
  t.equal(configOf({ env }).s3, undefined);
});

t.test("a bucket is all that AWS needs", async (t) => {
  t.same(s3Of({ yaml: "s3: {bucket: images}\n" }), {
    endpoint: undefined,
    region: "us-east-1",
    bucket: "images",
    prefix: "",
    pathStyle: false,
    credentials: undefined,
    encryption: undefined,
    maxSize: undefined,
    redirectAbove: undefined,
  });
});

t.test("everything, from the environment", async (t) => {
  const s3 = s3Of({
    env: {
      ...env,
      ENTREPOT_S3_BUCKET: "images",
      ENTREPOT_S3_ENDPOINT: "https://s3.example.com:9000/",
      ENTREPOT_S3_REGION: "eu-central-1",
      ENTREPOT_S3_PREFIX: "mirror/eu",
      ENTREPOT_S3_ACCESS_KEY_ID: "test:tester",
      ENTREPOT_S3_SECRET_ACCESS_KEY: "hunter2",
      ENTREPOT_S3_SSE: "aws:kms",
      ENTREPOT_S3_SSE_KEY_ID: "alias/images",
      ENTREPOT_S3_MAX_SIZE: "2TB",
      ENTREPOT_S3_REDIRECT_ABOVE: "64MiB",
    },
  });
  t.equal(s3?.endpoint?.href, "https://s3.example.com:9000/");
  t.match(s3, {
    region: "eu-central-1",
    prefix: "mirror/eu/",
    pathStyle: true,
    encryption: { algorithm: "aws:kms", keyId: "alias/images" },
    maxSize: 2e12,
    redirectAbove: 67_108_864,
  });
  t.equal((await s3?.credentials?.accessKeyId.read())?.reveal(), "test:tester");
  t.equal((await s3?.credentials?.secretAccessKey.read())?.reveal(), "hunter2");
});

t.test("hosts for buckets where the server has them; AES256 as AWS writes it", async (t) => {
  const yaml =
    "s3: {bucket: images, endpoint: http://s3.example.com, pathStyle: false, sse: AES256, prefix: a/}\n";
  t.match(s3Of({ yaml }), { pathStyle: false, encryption: { algorithm: "AES256" }, prefix: "a/" });
});

t.test("an account out of files that are read again", async (t) => {
  const directory = t.testdir({ id: "one\n", secret: "first\n" });
  const [id, secret] = [join(directory, "id"), join(directory, "secret")];
  const yaml = `s3: {bucket: images, accessKeyIdFile: ${id}, secretAccessKeyFile: ${secret}}\n`;
  const s3 = s3Of({ yaml, files: { [id]: "one\n", [secret]: "first\n" } });
  writeFileSync(secret, "second\n");
  t.equal((await s3?.credentials?.accessKeyId.read())?.reveal(), "one");
  t.equal((await s3?.credentials?.secretAccessKey.read())?.reveal(), "second");
});

t.test("what does not go together is said with its place", async (t) => {
  t.same(problems("s3: {region: eu-central-1}\n"), [
    "s3.region (mirror.yaml:1:14): found this without a bucket, expected s3.bucket as well",
  ]);
  t.same(problems("s3: {bucket: images, accessKeyId: a}\n"), [
    "s3.accessKeyId (mirror.yaml:1:35): found an access key without its secret, expected s3.secretAccessKey or s3.secretAccessKeyFile as well",
  ]);
  t.same(problems("s3: {bucket: images, secretAccessKeyFile: /s}\n", { files: { "/s": "x" } }), [
    "s3.secretAccessKeyFile (mirror.yaml:1:43): found a secret without an access key, expected s3.accessKeyId or s3.accessKeyIdFile as well",
  ]);
  t.same(
    problems("s3: {bucket: images, accessKeyId: a, secretAccessKey: b, secretAccessKeyFile: /s}\n", {
      files: { "/s": "x" },
    }),
    [
      "s3.secretAccessKeyFile (mirror.yaml:1:79): found both this and s3.secretAccessKey, expected only one of the two",
    ],
  );
  t.match(problems("s3: {bucket: images, sseKeyId: k, sse: AES256}\n"), [/expected s3.sse: aws:kms as well/]);
});

t.test("values that are none", async (t) => {
  const cases: readonly [string, RegExp][] = [
    ["bucket: s3://images", /expected the name of a bucket, without s3:/],
    ["endpoint: s3.example.com", /expected an http or https URL/],
    ["endpoint: 'https://a:hunter2@s3.example.com'", /not shown.*expected no credentials in the URL/],
    ["endpoint: 'https://s3.example.com/?a=b'", /expected a URL without a query/],
    ["prefix: ../other", /expected a path such as mirror\/eu/],
    ["prefix: /a//b", /expected a path such as mirror\/eu/],
    ["region: Europe/Berlin", /expected a region such as/],
    ["sse: rot13", /expected one of aes256, aws:kms/],
    ["maxSize: 50", /expected a unit after the number/],
    ["accessKeyIdFile: /none", /cannot be read/],
  ];
  for (const [line, expected] of cases) {
    const text = problems(
      `s3:\n  bucket: images\n  ${line}\n`.replace(/ {2}bucket: images\n(?= {2}bucket)/, ""),
    );
    t.match(text.join("\n"), expected, line);
    t.notMatch(text.join("\n"), /hunter2/);
  }
  t.match(
    problems("s3: {bucket: b-1, secretAccessKey: {hunter2: 1}}\n").join("\n"),
    /expected a single value/,
  );
  const [unknown = ""] = problems("s3: {bucket: b-1, secretAccesKey ,hunter2}\n");
  t.notMatch(unknown, /hunter2/, "a key may be part of a secret");
});

t.test("printed without its secrets, and read back", async (t) => {
  const yaml = [
    "s3:",
    "  bucket: images",
    "  endpoint: https://s3.example.com",
    "  prefix: mirror",
    "  accessKeyId: AKIDEXAMPLE",
    "  secretAccessKeyFile: /s",
    "  sse: aws:kms",
    "  maxSize: 2TB",
    "",
  ].join("\n");
  const files = { "/s": "hunter2" };
  const loaded = loadedFrom({ env, yaml, files });
  const { config } = loaded;
  const printed = renderConfig(loaded);
  t.notMatch(printed, /hunter2|AKIDEXAMPLE/);
  t.match(printed, /accessKeyId: not shown, from mirror\.yaml:5:16/);
  t.match(printed, /region: us-east-1 # default/);
  const again = `${printed}\n`.replace(
    "  secretAccessKeyFile",
    "  accessKeyId: AKIDEXAMPLE\n  secretAccessKeyFile",
  );
  const { credentials: _, ...back } = s3Of({ env: {}, yaml: again, files }) ?? {};
  const { credentials: __, ...first } = config.s3 ?? {};
  t.same(back, first);
});
