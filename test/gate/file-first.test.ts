import { verify } from "@node-rs/bcrypt";
import t from "tap";
import type { Directory } from "../../src/gate/directory.ts";
import { FileFirst } from "../../src/gate/file-first.ts";
import { HtpasswdUsers } from "../../src/gate/htpasswd-users.ts";
import { usersOf } from "../fixtures/access.ts";

t.test("names of the file are its own, whatever another directory says", async (t) => {
  const asked: string[] = [];
  const other: Directory = {
    find: async (name) => {
      asked.push(name);
      // It takes every password, and letter case is the same to it.
      return { name: name.toLowerCase(), groups: ["people"] };
    },
  };
  const directory = new FileFirst(new HtpasswdUsers(usersOf({ ci: "ci-pw" }), verify), other);
  const find = (name: string, password: string) => directory.find(name, Buffer.from(password));
  t.same(await find("ci", "ci-pw"), { name: "ci" });
  t.equal(await find("ci", "another"), undefined);
  t.same(asked, [], "the other is not asked for it");
  t.same(await find("Alice", "any"), { name: "alice", groups: ["people"] });
  t.equal(await find("CI", "any"), undefined, "nobody becomes it by the other");
  t.same(asked, ["Alice", "CI"]);
});
