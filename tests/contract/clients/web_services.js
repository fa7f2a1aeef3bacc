// A whole life of web services by the package azure-arm-machinelearning.
// Arguments: the address of Resource Manager, the subscription, the resource group, a definition.
'use strict';
const assert = require('assert');
const { readFileSync } = require('fs');
const { TokenCredentials } = require('ms-rest');
const { WebServicesManagementClient } = require('azure-arm-machinelearning');

const [url, subscription, group, file] = process.argv.slice(2);
const credentials = new TokenCredentials(process.env.TOKEN);
const options = { longRunningOperationRetryTimeout: 0, noRetryPolicy: true };
const services = new WebServicesManagementClient(credentials, subscription, url, options).webServices;

async function listAll(first, next) {
  const names = [];
  let page = await first;
  let pages = 1;
  names.push(...page.map((one) => one.name));
  for (; page.nextLink; pages += 1) {
    page = await next(page.nextLink);
    names.push(...page.map((one) => one.name));
  }
  return { names, pages };
}

async function main() {
  const definition = JSON.parse(readFileSync(file));
  const keys = { primary: 'one', secondary: 'two' };
  definition.properties.keys = keys;
  const names = ['census-a', 'census-b', 'census-c'];
  for (const name of names) {
    const made = await services.createOrUpdate(group, name, definition);
    assert.strictEqual(made.properties.provisioningState, 'Succeeded');
  }
  assert.deepStrictEqual(await services.listKeys(group, 'census-a'), keys);

  const read = await services.get(group, 'census-a');
  assert.strictEqual(read.location, 'South Central US');
  const model = read.properties.assets.asset3;
  assert.strictEqual(model.locationInfo.uri, definition.properties.assets.asset3.locationInfo.uri);

  model.locationInfo.uri = model.locationInfo.uri.replace('.ilearner', '-2.ilearner');
  const changes = {
    packageType: 'Graph',
    description: 'patched',
    keys: { primary: 'three' },
    assets: read.properties.assets,
  };
  const patched = await services.patch(group, 'census-a', { location: read.location, properties: changes });
  assert.strictEqual(patched.properties.description, 'patched');
  const after = await services.get(group, 'census-a');
  assert.strictEqual(after.properties.assets.asset3.locationInfo.uri, model.locationInfo.uri);
  const rotated = await services.listKeys(group, 'census-a');
  assert.deepStrictEqual(rotated, { primary: 'three', secondary: 'two' });

  const listed = await listAll(
    services.listByResourceGroup(group),
    (link) => services.listByResourceGroupNext(link),
  );
  assert.deepStrictEqual(listed, { names, pages: 2 });
  const everywhere = await listAll(
    services.listBySubscriptionId(),
    (link) => services.listBySubscriptionIdNext(link),
  );
  for (const name of names) assert.ok(everywhere.names.includes(name), name);
  assert.ok(everywhere.pages > 1);

  await services.createRegionalProperties(group, 'census-a', 'westcentralus');
  const regional = await services.get(group, 'census-a', { region: 'westcentralus' });
  assert.strictEqual(regional.name, 'census-a');

  for (const name of names) await services.remove(group, name);
  await assert.rejects(services.get(group, 'census-a'), (error) => error.statusCode === 404);
  await services.remove(group, 'census-a');
  console.log('done');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
