// The mirror's account upstream, asked for and refused.
import t from "tap";
import { openRequest, readAnswer } from "../../fixtures/push-client.ts";
import { startPushMirror } from "../../fixtures/push-mirror.ts";
import { startPushUpstream } from "../../fixtures/push-upstream.ts";

const repository = "team/app";
const uploads = `/v2/${repository}/blobs/uploads/`;
const absent = `sha256:${"a".repeat(64)}`;

t.test("rights are asked for before anything is sent, by what the request needs", async (t) => {
  const upstream = await startPushUpstream(t);
  const mirror = await startPushMirror(t, upstream.url, {
    authorization: async () => `Basic ${btoa("ci:s3cret")}`,
  });
  const asked = async (method: string, path: string): Promise<string | undefined> => {
    mirror.asked.length = 0;
    const { request, answer } = openRequest(mirror.url, method, path, 0);
    request.end();
    await readAnswer(await answer);
    return mirror.asked.join();
  };
  const write = `authorization ${repository} pull,push`;
  t.equal(await asked("POST", uploads), write);
  t.equal(await asked("POST", `${uploads}?mount=${absent}&from=team/base`), `${write} team/base`);
  t.equal(await asked("PATCH", `${uploads}id`), write);
  t.equal(await asked("GET", `${uploads}id`), write);
  t.equal(await asked("DELETE", `/v2/${repository}/manifests/1`), `authorization ${repository} *`);
  t.equal(await asked("PUT", "/v2/other/tags/list"), "");
});

t.test("a challenge: a request without a body is sent again once, with what was learnt", async (t) => {
  const upstream = await startPushUpstream(t);
  let token = "Bearer old";
  const mirror = await startPushMirror(t, upstream.url, {
    authorization: async () => token,
    refused: async () => {
      token = `Basic ${btoa("ci:s3cret")}`;
      return true;
    },
  });
  const ask = async (method: string, path: string, body = ""): Promise<number | undefined> => {
    const { request, answer } = openRequest(mirror.url, method, path, body.length);
    request.end(body);
    const message = await answer;
    await readAnswer(message);
    return message.statusCode;
  };
  t.equal(await ask("POST", uploads), 202);
  t.same(mirror.asked, [
    `authorization ${repository} pull,push`,
    `refused ${repository} 401 Basic realm="Artifactory Realm"`,
    `authorization ${repository} pull,push`,
  ]);
  token = "Bearer old";
  t.equal(await ask("PATCH", `${uploads}id`, "{}"), 502, "a body cannot be sent twice");
  token = "Bearer old";
  const manifest = '{"config":{"digest":"x"},"layers":[]}';
  upstream.content(repository).blobs.set("x", Buffer.alloc(0));
  t.notOk(mirror.told.length, "upstream has not written what it did not authorise");
  t.equal(await ask("PUT", `/v2/${repository}/manifests/1`, manifest), 201, "one in memory can");
  t.same(
    upstream.requests.slice(-2).map(({ method, bytes, status }) => [method, bytes, status]),
    [
      ["PUT", manifest.length, 401],
      ["PUT", manifest.length, 201],
    ],
  );
  t.equal(await ask("POST", uploads), 202, "the next request has the new token");
  upstream.fault(() => ({ status: 401 }));
  t.equal(await ask("POST", uploads), 502, "and it is not asked for ever");
  t.match(mirror.events.at(-1), { detail: "auth", upstreamStatus: 401 });
});

t.test(
  "a 400 or 403 may be about the account: what can be sent again is, once, and then it is believed",
  async (t) => {
    for (const status of [400, 403]) {
      const upstream = await startPushUpstream(t);
      let token = "Bearer old";
      let renews = true;
      const mirror = await startPushMirror(t, upstream.url, {
        authorization: async () => token,
        refused: async () => {
          if (renews) token = `Basic ${btoa("ci:s3cret")}`;
          return renews;
        },
      });
      upstream.fault(({ headers }) => (headers.authorization === "Bearer old" ? { status } : undefined));
      const ask = async (method: string, path: string, body = ""): Promise<number | undefined> => {
        const { request, answer } = openRequest(mirror.url, method, path, body.length);
        request.end(body);
        const message = await answer;
        await readAnswer(message);
        return message.statusCode;
      };
      t.equal(await ask("POST", uploads), 202);
      token = "Bearer old";
      t.equal(await ask("PATCH", `${uploads}id`, "{}"), status, "a body cannot be sent twice");
      t.not(token, "Bearer old", "but the next request is the better for it");
      renews = false;
      token = "Bearer old";
      const before = upstream.requests.length;
      t.equal(await ask("POST", uploads), status, "a refusal in upstream's own status");
      t.equal(upstream.requests.length, before + 1);
    }
  },
);
