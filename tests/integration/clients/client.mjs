// The sequence of sequence.py by Node's fetch.
import {createHash} from "node:crypto";

const job = JSON.parse(process.argv[2]);
const first = "1.1.1/1.1.1/1.1.1";
const report = {};

function target(base, what, name, at = first) {
    return `${base}/api/v2/${what}?` + new URLSearchParams({p: name, c: at});
}

async function ask(method, where, token, body, more = {}) {
    const headers = {Authorization: `Bearer ${token}`, ...more};
    const stream = typeof body === "object" && body !== null && !(body instanceof Uint8Array);
    return fetch(where, {method, headers, body, ...(stream ? {duplex: "half"} : {})});
}

async function read(answer) {
    const hash = createHash("sha256");
    let count = 0;
    if (answer.body !== null) {
        for await (const piece of answer.body) {
            count += piece.length;
            hash.update(piece);
        }
    }
    return [answer.status, count, hash.digest("hex")];
}

function lines(count) {
    const out = Buffer.alloc(count * 9);
    for (let number = 0; number < count; number++) {
        out.write(String(number).padStart(8, "0") + "\n", number * 9, "latin1");
    }
    return out;
}

function stream(bytes) {
    let at = 0;
    return new ReadableStream({
        pull(controller) {
            if (at >= bytes.length) controller.close();
            else controller.enqueue(new Uint8Array(bytes.subarray(at, at += 50_000)));
        },
    });
}

const at = what => target(job.Base, what, job.Name);
const get = async where => read(await ask("GET", where, job.Token));
const post = async (where, body) => read(await ask("POST", where, job.Token, body));

report["update"] = await post(at("update"), job.Text);
report["select"] = await get(at("select"));
report["insert"] = await post(at("insert"), "more");
report["inserted"] = await get(at("select"));
report["get"] = await get(at("get"));
report["delete"] = await get(at("delete"));
report["deleted"] = await get(at("select"));
report["kept"] = [];
for (let number = 0; number < job.Many; number++) {
    report["kept"].push(await get(`${job.Counted}/api/v2/version`));
}
report["parallel"] = await Promise.all(Array.from({length: 8}, async (_, index) => {
    const where = `1.1.1/1.1.1/2.1.${index + 1}`;
    const results = [];
    for (let number = 0; number < 3; number++) {
        results.push(await post(target(job.Base, "update", job.Name, where), `text of ${index}`));
        results.push(await get(target(job.Base, "select", job.Name, where)));
    }
    return results;
}));
const large = job.Name + "-large";
const whole = lines(job.Large);
const chunked = stream(whole.subarray(0, job.Chunked * 9));
report["chunked"] = await post(target(job.Base, "update", large), chunked);
report["streamed"] = await get(target(job.Base, "select", large));
report["large"] = await post(target(job.Base, "update", large), new Uint8Array(whole));
report["downloaded"] = await get(target(job.Base, "get", large));
const wrong = await ask("GET", at("select"), job.Wrong);
report["wrong"] = [wrong.status, wrong.headers.get("www-authenticate")];
await read(wrong);
const refused = new Uint8Array(whole.subarray(0, job.Refused));
report["refused"] = (await read(await ask("POST", at("update"), job.Wrong, refused)))[0];
report["after refused"] = await post(at("update"), "after");
report["after all"] = await get(at("select"));
const options = await ask("OPTIONS", at("select"), job.Wrong);
report["options"] = [options.status, options.headers.get("access-control-allow-methods")];
await read(options);
const head = await ask("HEAD", at("select"), job.Token);
report["head"] = [Number(head.headers.get("content-length")), ...await read(head)];
console.log(JSON.stringify(report));
