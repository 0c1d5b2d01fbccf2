import t from "tap";
import { Follower, Followers } from "../../../src/cache/fill/followers.ts";
import { type OnBehalfOf, type RemoteRepository, remoteRepository } from "../../../src/ports/upstream.ts";
import { MemoryUpstream, repo } from "../../fixtures/memory-upstream.ts";

function followerAt(position: number, remote?: RemoteRepository): Follower {
  const followed = {
    read: async () => Buffer.alloc(0),
    lend: async () => undefined,
    arrived: async () => {},
    spooled: async () => undefined,
    plan: () => undefined,
    leave: () => {},
  };
  const follower = new Follower(followed, remote);
  follower.position = position;
  return follower;
}

t.test("reading and closing name the follower", async (t) => {
  const left: Follower[] = [];
  const follower = new Follower({
    read: async (who, position, scratch) => {
      who.position = position;
      return scratch;
    },
    lend: async () => undefined,
    arrived: async (who, position) => {
      who.position = position;
    },
    spooled: async () => undefined,
    plan: () => undefined,
    leave: (who) => left.push(who),
  });
  const scratch = Buffer.alloc(3);
  await follower.arrived(7);
  t.equal(follower.position, 7);
  t.equal(await follower.read(42, scratch), scratch);
  t.equal(follower.position, 42);
  await follower.close();
  t.same(left, [follower]);
});

t.test("the slowest decides; nobody is infinitely far", async (t) => {
  const followers = new Followers(() => 0);
  t.equal(followers.slowest, Number.POSITIVE_INFINITY);
  const [fast, slow] = [followerAt(90), followerAt(30)];
  followers.add(fast);
  followers.add(slow);
  followers.add(slow);
  t.equal(followers.size, 2);
  t.equal(followers.slowest, 30);
  followers.remove(slow);
  t.equal(followers.slowest, 90);
  t.equal(followers.size, 1);
});

t.test("nobody waits when all have left, or work for no caller", async (t) => {
  const upstream = new MemoryUpstream();
  const at = (onBehalfOf?: OnBehalfOf) => followerAt(0, remoteRepository(upstream, repo("a/b"), onBehalfOf));
  const followers = new Followers(() => 0);
  t.notOk(followers.unawaited, "the first may be about to come");
  const [nobody, job, client] = [
    at(),
    at({ key: "job", exempt: false, background: true }),
    at({ key: "client", exempt: false }),
  ];
  followers.add(nobody);
  followers.add(job);
  t.ok(followers.unawaited);
  followers.add(client);
  t.notOk(followers.unawaited);
  followers.remove(client);
  t.ok(followers.unawaited);
  for (const each of [nobody, job]) followers.remove(each);
  t.ok(followers.unawaited);
  followers.add(followerAt(0));
  t.notOk(followers.unawaited);
});

t.test("only those are dropped that are before the end and have not moved", async (t) => {
  const followers = new Followers(() => 0);
  const [stopped, moved, atEnd, beyond] = [followerAt(10), followerAt(10), followerAt(20), followerAt(50)];
  for (const follower of [stopped, moved, atEnd, beyond]) followers.add(follower);
  const positions = followers.positions();
  moved.position = 11;
  const newcomer = followerAt(0);
  followers.add(newcomer);
  followers.dropStalled(20, positions);
  t.same(
    [stopped, moved, atEnd, beyond, newcomer].map(({ dropped }) => dropped),
    [true, false, false, false, false],
  );
  t.equal(followers.size, 4);
});
