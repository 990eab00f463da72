// validate.js MODULES FILE - every document of a JSON list against the validators that the npm package
// kubernetes-models generates from Kubernetes' own schemas. Those find wrong types, missing fields
// and unknown kinds; an unknown field is found by watching which fields they read.
// Prints a line a finding; exit status 1 when there was any.
'use strict';
const fs = require('fs'), path = require('path');
const [modules, file] = process.argv.slice(2);
const base = path.join(modules, 'kubernetes-models');

function watch(o, where, seen) {
    if (o === null || typeof o !== 'object') return o;
    return new Proxy(o, {
        get: (t, k) => typeof k === 'string' ? (seen.add(where + '/' + k), watch(t[k], where + '/' + k, seen)) : t[k],
        ownKeys: (t) => { for (const k of Object.keys(t)) seen.add(where + '/' + k); return Reflect.ownKeys(t); },
    });
}

function paths(o, where, out) {
    if (o === null || typeof o !== 'object') return;
    for (const k of Object.keys(o)) { out.push(where + '/' + k); paths(o[k], where + '/' + k, out); }
}

function check(doc) {
    const kindFile = path.join(base, doc.apiVersion, doc.kind + '.js');
    if (!fs.existsSync(kindFile)) return ['unknown kind ' + doc.apiVersion + ' ' + doc.kind];
    const schema = /_schemas\/([A-Za-z0-9]+)/.exec(fs.readFileSync(kindFile, 'utf8'));
    const validate = require(path.join(base, '_schemas', schema[1] + '.js')).validate;
    const seen = new Set(), all = [], found = [];
    if (!validate(watch(doc, '', seen)))
        for (const e of validate.errors) found.push((e.instancePath || '/') + ' ' + e.message);
    paths(doc, '', all);
    for (const p of all) if (!seen.has(p)) found.push('unknown field ' + p);
    return found;
}

let bad = 0;
for (const doc of JSON.parse(fs.readFileSync(file, 'utf8')))
    for (const f of check(doc)) { console.log(doc.kind + ' ' + doc.metadata.name + ': ' + f); bad++; }
process.exit(bad ? 1 : 0);
