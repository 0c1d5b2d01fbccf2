// The document is what the answers are: every path of it is asked of a running mirror.
import t from "tap";
import { z } from "zod";
import { openApiDocument } from "../../../src/ops/api/openapi.ts";
import { makeImage } from "../../fixtures/images.ts";
import { startMirror } from "../../fixtures/mirror.ts";
import { startUpstream } from "../../fixtures/scripted-upstream.ts";
import { askJobs, beginJob, jobUntil } from "../../fixtures/warm-jobs.ts";

interface Document {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, { readonly get: Operation }>>;
  readonly components: { readonly schemas: Readonly<Record<string, object>> };
}

interface Operation {
  readonly operationId: string;
  readonly parameters: readonly {
    readonly name: string;
    readonly required: boolean;
    readonly example: string;
  }[];
  readonly responses: Readonly<
    Record<
      string,
      { readonly content: { readonly "application/json": { readonly schema: { $ref: string } } } }
    >
  >;
}

/** The schema of an answer, as somebody reads it who has only the document. */
function schemaOf({ components }: Document, { responses }: Operation, status: string): z.ZodType {
  const { $ref } = responses[status]?.content["application/json"].schema ?? { $ref: "" };
  const name = $ref.replace("#/components/schemas/", "");
  const schema = components.schemas[name];
  if (schema === undefined) throw new Error(`no schema ${$ref}`);
  return z.fromJSONSchema(schema as Parameters<typeof z.fromJSONSchema>[0]);
}

t.test("every path of the document is answered as it says, and errors too", async (t) => {
  const upstream = await startUpstream(t);
  const image = makeImage({ layers: [1000] });
  upstream.addImage("team/app", "1.0", image);
  const mirror = await startMirror(t, upstream);
  await mirror.get("/v2/team/app/manifests/1.0");
  await mirror.get(`/v2/team/app/blobs/${image.layers[0]?.digest}`);
  const ask = async (path: string, method = "GET") => {
    const answer = await fetch(new URL(path, mirror.ops), { method });
    return { status: answer.status, type: answer.headers.get("content-type"), body: await answer.json() };
  };
  const { status, type, body } = await ask("/api/v1/openapi.json");
  t.same([status, type], [200, "application/json"]);
  const document = body as Document;
  t.match(document.openapi, /^3\.1\./);
  const paths = Object.entries(document.paths).filter(([path, { get }]) => !path.includes("{") && get);
  t.ok(paths.length >= 4);
  for (const [path, { get }] of paths) {
    const query = new URLSearchParams(
      get.parameters.map(({ name, example }): [string, string] => [name, example]),
    );
    const good = await ask(`${path}${query.size === 0 ? "" : `?${query}`}`);
    t.same([good.status, good.type], [200, "application/json"], path);
    const { error } = schemaOf(document, get, "200").safeParse(good.body);
    t.equal(error, undefined, error === undefined ? path : `${path}: ${z.prettifyError(error)}`);
    t.notOk(schemaOf(document, get, "200").safeParse({}).success, "and it is not said of everything");
    const optional = get.parameters.find(({ required }) => !required)?.name;
    const bare = await ask(path);
    t.equal(bare.status, get.parameters.some(({ required }) => required) ? 400 : 200, path);
    const wrong =
      get.parameters.length === 0
        ? await ask(path, "OPTIONS")
        : optional === undefined
          ? bare
          : await ask(`${path}?${optional}=`);
    t.equal(wrong.status, get.parameters.length === 0 ? 405 : 400, path);
    const refused = schemaOf(document, get, "default").safeParse(wrong.body);
    t.ok(refused.success, JSON.stringify(wrong.body));
  }
  t.equal(upstream.count({ repository: "team/app" }), 2, "and upstream was asked nothing more");
});

t.test("jobs are begun, told of and ended as the document says", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1.0", makeImage({ layers: [1000] }));
  const mirror = await startMirror(t, upstream);
  const document = openApiDocument("1.2.3") as Document & {
    readonly paths: Readonly<Record<string, { readonly post: Operation; readonly delete: Operation }>>;
  };
  const jobs = document.paths["/api/v1/jobs"] as { post: Operation };
  const one = document.paths["/api/v1/jobs/{id}"] as { get: Operation; delete: Operation };
  const begun = await beginJob(mirror, { images: ["team/app:1.0", "team/none:1"] });
  t.ok(schemaOf(document, jobs.post, "201").safeParse(begun).success);
  const over = await jobUntil(mirror, begun.id);
  const { error } = schemaOf(document, one.get, "200").safeParse(over);
  t.equal(error, undefined);
  const ended = JSON.parse((await askJobs(mirror, "DELETE", `/${begun.id}`)).text) as unknown;
  t.ok(schemaOf(document, one.delete, "200").safeParse(ended).success);
  const wrong = JSON.parse((await askJobs(mirror, "POST", "", { images: [] })).text) as unknown;
  t.ok(schemaOf(document, jobs.post, "default").safeParse(wrong).success, JSON.stringify(wrong));
});

t.test("drills and pins are begun, told of and ended as the document says", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1.0", makeImage({ layers: [1000] }));
  const mirror = await startMirror(t, upstream);
  const document = openApiDocument("1.2.3") as Document;
  const check = async (path: string, method: string, status: number, body?: object, query = "") => {
    const operations = document.paths[path] as unknown as Readonly<Record<string, Operation>>;
    const headers = { "content-type": "application/json" };
    const asked = { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
    const answer = await fetch(new URL(`${path}${query}`, mirror.ops), asked);
    const said = (await answer.json()) as object;
    const what = `${method} ${path}: ${JSON.stringify(said)}`;
    t.equal(answer.status, status, what);
    const operation = operations[method.toLowerCase()] as Operation;
    const schema = schemaOf(document, operation, status < 400 ? `${status}` : "default");
    t.equal(schema.safeParse(said).error, undefined, what);
    return said;
  };
  const drill = "/api/v1/drill";
  await check(drill, "DELETE", 404);
  await check(drill, "POST", 400, { clients: [], durationMs: 60_000 });
  const on = { drill: { clients: ["10.1.2.0/24"] } };
  t.match(await check(drill, "POST", 201, { clients: ["10.1.2.0/24"], durationMs: 60_000 }), on);
  t.match(await check(drill, "GET", 200), on);
  t.strictSame(await check(drill, "DELETE", 200), { drill: null });
  const pins = "/api/v1/pins";
  const image = "upstream/team/app:1.0";
  await check(pins, "POST", 400, {});
  await check(pins, "POST", 409, { image: "team/none:1.0" });
  t.match(await check(pins, "POST", 201, { image }), { image });
  t.match(await check(pins, "GET", 200), { pins: [{ image }] });
  t.match(await check(pins, "DELETE", 200, undefined, "?image=team/app:1.0"), { image });
  await check(pins, "DELETE", 404, undefined, "?image=team/app:1.0");
});

t.test("what is refreshed and purged is answered as the document says", async (t) => {
  const upstream = await startUpstream(t);
  const image = makeImage({ layers: [1000] });
  upstream.addImage("team/app", "1.0", image);
  const mirror = await startMirror(t, upstream);
  const document = openApiDocument("1.2.3") as Document & {
    readonly paths: Readonly<Record<string, { readonly post: Operation }>>;
  };
  const references = ["team/app:1.0", `team/app@${image.digest}`, "team/app", image.digest];
  for (const [path, some] of [
    ["/api/v1/refresh", references.slice(0, 2)],
    ["/api/v1/purge", references],
  ] as const) {
    const { post } = document.paths[path] as { post: Operation };
    const ask = async (body: object): Promise<unknown> => {
      const headers = { "content-type": "application/json" };
      const asked = { method: "POST", headers, body: JSON.stringify(body) };
      return await (await fetch(new URL(path, mirror.ops), asked)).json();
    };
    for (const reference of some) {
      await mirror.get("/v2/team/app/manifests/1.0");
      const { error } = schemaOf(document, post, "200").safeParse(await ask({ reference }));
      t.equal(error, undefined, error === undefined ? path : `${path}: ${z.prettifyError(error)}`);
    }
    t.ok(schemaOf(document, post, "default").safeParse(await ask({ reference: "" })).success);
  }
});

t.test("of the answers every member is described, also where they are nested", (t) => {
  const { components } = openApiDocument("1.2.3") as Document;
  t.same(Object.keys(components.schemas).sort(), [
    "BlockChange",
    "Blocks",
    "Datacenter",
    "Drill",
    "Error",
    "History",
    "Image",
    "ImportedBlob",
    "ImportedManifest",
    "Job",
    "Jobs",
    "NewBlock",
    "NewDrill",
    "NewJob",
    "NewPin",
    "NewPurge",
    "NewRefresh",
    "Node",
    "Pin",
    "Pins",
    "Purge",
    "Readiness",
    "Refresh",
    "Savings",
    "Stats",
    "Unpinned",
  ]);
  const text = JSON.stringify(components);
  t.notMatch(text, /additionalProperties/, "members may be added: nobody is told to refuse them");
  t.notMatch(text, /\$schema/);
  t.end();
});
