import t from "tap";
import type { OpsAccessConfig } from "../../src/config/config.ts";
import { OpsAccess } from "../../src/ops/access.ts";
import { fixedSecret, Secret } from "../../src/ports/secret.ts";
import { ManualClock } from "../fixtures/manual-time.ts";

const here = "192.0.2.1";
const secret = (text: string) => fixedSecret(new Secret(text));
const both: OpsAccessConfig = {
  username: undefined,
  password: secret("hunter2: ü"),
  token: secret("a-token-of-this-mirror"),
};
const basic = (user: string, password: string) =>
  `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;

function setUp(rules: OpsAccessConfig | undefined) {
  const clock = new ManualClock();
  const access = new OpsAccess({ rules: () => rules, clock: clock.read });
  const status = async (shown: string | undefined, network = here, isLocal = false) =>
    (await access.refusalOf(shown, network, isLocal))?.status;
  return { clock, access, status };
}

t.test(
  "without a password only what nobody else reaches is open, and the answer says what to set",
  async (t) => {
    const { access, status } = setUp(undefined);
    t.equal(await status(undefined, here, true), undefined);
    const refusal = await access.refusalOf(undefined, here, false);
    t.equal(refusal?.status, 403);
    t.match(refusal?.body, /ENTREPOT_OPS_ACCESS_PASSWORD_FILE/);
    t.equal(await status(basic("x", "y")), 403, "whatever is shown");
  },
);

t.test("the password with any user, or the token; on loopback, too", async (t) => {
  const { access, status } = setUp(both);
  for (const isLocal of [true, false]) {
    t.equal(await status(undefined, here, isLocal), 401);
    t.equal(await status(basic("ann", "hunter2: ü"), here, isLocal), undefined);
    t.equal(await status(basic("", "hunter2: ü"), here, isLocal), undefined);
    t.equal(await status("bearer a-token-of-this-mirror", here, isLocal), undefined);
  }
  const wrong = [
    basic("ann", "hunter2"),
    basic("ann", "a-token-of-this-mirror"),
    "Bearer hunter2: ü",
    "Bearer a-token-of-this-mirro",
    "Basic",
    "Basic !!",
    "",
    "a-token-of-this-mirror",
    `Digest ${Buffer.from("ann:hunter2: ü").toString("base64")}`,
  ];
  for (const [at, shown] of wrong.entries()) t.equal(await status(shown, `192.0.2.${at}`), 401, shown);
  t.same((await access.refusalOf(undefined, here, false))?.headers, {
    "www-authenticate": ['Basic realm="entrepot", charset="UTF-8"', 'Bearer realm="entrepot"'],
  });
});

t.test("a user name that is set has to be the one shown", async (t) => {
  const { status } = setUp({ ...both, username: "ann", token: undefined });
  t.equal(await status(basic("ann", "hunter2: ü")), undefined);
  t.equal(await status(basic("bob", "hunter2: ü")), 401);
  t.equal(await status("Bearer a-token-of-this-mirror"), 401);
});

t.test(
  "ten wrong ones from one network in a minute; others, and the next minute, are not concerned",
  async (t) => {
    const { access, clock, status } = setUp(both);
    const right = basic("ann", "hunter2: ü");
    for (let i = 0; i < 20; i++) t.equal(await status(right), undefined);
    const guesses = Array.from({ length: 15 }, (_, at) => status(basic("ann", `guess ${at}`)));
    const statuses = await Promise.all(guesses);
    t.equal(statuses.filter((each) => each === 401).length, 10);
    t.equal(statuses.filter((each) => each === 429).length, 5);
    t.equal(await status(right), 429);
    t.equal(await status(undefined), 401, "who shows nothing is asked as before");
    t.equal(await status(right, "192.0.2.2"), undefined);
    clock.advance(59_000);
    t.match(await access.refusalOf(right, here, false), { headers: { "retry-after": "1" } });
    clock.advance(1_000);
    t.equal(await status(right), undefined);
  },
);
