// A whole life of commitment plans by the package @azure/arm-commitmentplans.
// Arguments: the address of Resource Manager, the subscription, the resource group, the service.
'use strict';
const assert = require('assert');
const { TokenCredentials } = require('@azure/ms-rest-js');
const { AzureMLCommitmentPlansManagementClient } = require('@azure/arm-commitmentplans');

const [url, subscription, group, service] = process.argv.slice(2);
const client = new AzureMLCommitmentPlansManagementClient(
  new TokenCredentials(process.env.TOKEN),
  subscription,
  { baseUri: url, noRetryPolicy: true },
);
const plans = client.commitmentPlans;
const associations = client.commitmentAssociations;

// The package loses the link of a page, because it reads the items after it; the reply has it.
const nextLink = (page) => JSON.parse(page._response.bodyAsText).nextLink;

async function listAll(first, next) {
  const found = [];
  let page = await first;
  found.push(...page);
  for (let link = nextLink(page); link; link = nextLink(page)) {
    page = await next(link);
    found.push(...page);
  }
  return found;
}

async function main() {
  const skus = await client.skus.list();
  assert.ok(skus.some((one) => one.name === 'S1'));

  const body = { location: 'southcentralus', sku: { name: 'S1', tier: 'Standard', capacity: 1 } };
  for (const name of ['plan-b', 'plan-c']) await plans.createOrUpdate(body, group, name);
  const made = await plans.get(group, 'plan-b');
  assert.strictEqual(made.location, 'southcentralus');
  assert.strictEqual(made.sku.name, 'S1');
  assert.strictEqual(made.properties.chargeForOverage, true);

  const sku = { name: 'S2', tier: 'Standard', capacity: 2 };
  const patched = await plans.patch({ tags: { team: 'ml' }, sku }, group, 'plan-b');
  assert.deepStrictEqual(patched.sku, sku);
  assert.deepStrictEqual(patched.tags, { team: 'ml' });
  assert.notStrictEqual(patched.etag, made.etag);
  assert.deepStrictEqual(patched.properties.creationDate, made.properties.creationDate);

  const here = await listAll(
    plans.listInResourceGroup(group),
    (link) => plans.listInResourceGroupNext(link),
  );
  const names = here.map((one) => one.name);
  for (const name of ['plan-a', 'plan-b', 'plan-c']) assert.ok(names.includes(name), names.join());
  const all = await listAll(plans.list(), (link) => plans.listNext(link));
  assert.ok(all.length >= here.length);

  const held = await listAll(
    associations.list(group, 'plan-a'),
    (link) => associations.listNext(link),
  );
  assert.strictEqual(held.length, 1);
  const [association] = held;
  assert.ok(association.properties.associatedResourceId.endsWith(`/${service}`));
  const again = await associations.get(group, 'plan-a', association.name);
  assert.strictEqual(again.properties.commitmentPlanId, association.properties.commitmentPlanId);

  await associations.move(group, 'plan-a', association.name, { destinationPlanId: made.id });
  assert.deepStrictEqual([...(await associations.list(group, 'plan-a'))], []);
  const moved = await associations.list(group, 'plan-b');
  assert.ok(moved[0].properties.associatedResourceId.endsWith(`/${service}`));
  assert.strictEqual(moved[0].properties.commitmentPlanId, made.id);

  await client.usageHistory.list(group, 'plan-b');
  await plans.remove(group, 'plan-c');
  await assert.rejects(plans.get(group, 'plan-c'), (error) => error.statusCode === 404);
  console.log('done');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
