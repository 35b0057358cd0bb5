-- The first schema. Bytes are bytea, amounts numeric(78,0) in base units (a uint256 has 78 digits), times timestamptz.
-- `now` is always a parameter of the statement that writes a time; only leases use the database's clock.

create table installation (
    singleton boolean primary key default true check (singleton),
    generation integer not null default 0,           -- how often this database was restored from a backup
    feed_position bigint not null default 0,         -- position of the newest event; written under the feed lock only
    secret_key_id text                               -- id of the key that seals secrets; null until the first is sealed
);
insert into installation default values;

-- Custody resources ---------------------------------------------------------------------------------------------------

create table accounts (
    id uuid primary key default gen_random_uuid(),
    mode text not null check (mode in ('live', 'test')),
    name text not null,
    is_default boolean not null default false,
    created_at timestamptz not null default now()
);
create unique index accounts_one_default_per_mode on accounts (mode) where is_default;
insert into accounts (mode, name, is_default) values ('live', 'Default', true), ('test', 'Default (test)', true);

create table customers (
    id uuid primary key default gen_random_uuid(),
    account_id uuid not null references accounts,
    name text,
    created_at timestamptz not null
);

create table assets (
    id uuid primary key default gen_random_uuid(),
    account_id uuid not null references accounts,
    chain text not null,
    contract bytea not null,                         -- empty for the chain's coin
    symbol text not null,
    decimals integer not null,
    created_at timestamptz not null,
    unique (account_id, chain, contract)
);

create table addresses (
    id uuid primary key default gen_random_uuid(),
    chain text not null,
    address bytea not null,
    account_id uuid not null references accounts,
    customer_id uuid references customers,
    label text,
    watched_from bigint not null,                    -- states coverage; never a filter
    created_at timestamptz not null,
    removed_at timestamptz
);
create unique index addresses_watched on addresses (chain, address) where removed_at is null;
create index addresses_newest on addresses (chain, created_at, id) where removed_at is null;
create index addresses_of_account on addresses (chain, account_id, created_at, id) where removed_at is null;

-- Chains --------------------------------------------------------------------------------------------------------------

create table chains (
    name text primary key,
    caip2 text not null unique,
    kind text not null,
    wire_name text not null,
    coin_decimals integer not null,
    mode text not null check (mode in ('live', 'test')),
    genesis_hash bytea not null,                     -- as found at the first start
    cursor_height bigint not null,
    cursor_hash bytea not null,
    cursor_parent_hash bytea not null,
    finalized_height bigint,                         -- highest block of our chain that a node called finalized
    reorg_limit integer not null,
    trouble text,                                    -- what keeps it from going on; null while nothing does
    fence bigint not null default 0,                 -- raised by each new follower; demanded by each of its commits
    follower text,
    lease_until timestamptz,
    advanced_at timestamptz not null                 -- when the cursor last moved
);

create table blocks (
    chain text not null references chains,
    height bigint not null,
    hash bytea not null,
    parent_hash bytea not null,
    mined_at timestamptz,                            -- null: older than the chain's first cursor, never scanned
    orphaned_at timestamptz,
    primary key (chain, hash)
);
create unique index blocks_of_our_chain on blocks (chain, height) where orphaned_at is null;

-- What we know: the heights of each chain in which a capability, or a token, was scanned.
create table coverage (
    id bigint generated always as identity primary key,
    chain text not null references chains,
    capability text not null check (capability in ('coin', 'logs', 'token')),
    token bytea not null,                            -- contract where the capability is 'token', else empty
    from_height bigint not null,
    through_height bigint not null,                  -- below from_height: nothing yet
    ended_at timestamptz,                            -- when it was switched off; null while it grows with the cursor
    ended_reason text
);
create unique index coverage_growing on coverage (chain, capability, token) where ended_at is null;

-- Tracked transactions ------------------------------------------------------------------------------------------------

create table transactions (
    uid text primary key,
    type text not null check (type in ('DEPOSIT', 'TRANSFER', 'CONTRACT')),
    chain text not null references chains,
    tx_hash bytea not null,
    asset bytea not null,
    symbol text not null,
    decimals integer not null,
    address bytea not null,
    position integer,
    account_id uuid not null references accounts,
    asset_id uuid not null references assets,
    customer_id uuid references customers,
    label text,
    amount numeric(78, 0) not null,
    counterparty bytea,
    origin_sender bytea not null,
    origin_nonce numeric(20, 0) not null,
    may_return boolean not null,
    status text not null,
    screening text not null,
    block_height bigint,
    block_hash bytea,
    log_index integer,
    execution text not null,
    conflict_tx_hash bytea,
    conflict_height bigint,
    conflict_hash bytea,
    replaced_by bytea,
    replaces bytea,
    fee numeric(78, 0),
    fee_of text,
    told_depth integer not null,
    final boolean not null,
    sequence integer not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    check ((block_height is null) = (block_hash is null)),
    check ((conflict_hash is null) = (conflict_tx_hash is null) and (conflict_hash is null) = (conflict_height is null)),
    check (block_hash is null or conflict_hash is null)
);
create index transactions_by_hash on transactions (chain, tx_hash);
create index transactions_by_block on transactions (chain, block_height) where block_height is not null;
create index transactions_by_conflict on transactions (chain, conflict_height) where conflict_height is not null;
create index transactions_unsettled on transactions (chain) where not final;
create index transactions_in_no_block on transactions (chain, origin_sender, origin_nonce) where block_height is null;
-- Each of these gives a page of a listing in its order, one chain at a time.
create index transactions_newest on transactions (chain, created_at, uid);
create index transactions_of_address on transactions (chain, address, created_at, uid);
create index transactions_in_status on transactions (chain, status, created_at, uid);
create index transactions_of_account on transactions (chain, account_id, created_at, uid);

-- What watched senders paid, also when nothing else moved: one entry per transaction on chain.
create table fees (
    chain text not null references chains,
    tx_hash bytea not null,
    payer bytea not null,
    account_id uuid not null references accounts,
    amount numeric(78, 0) not null,
    block_height bigint,                             -- null while no block of our chain includes it
    block_hash bytea,
    counted_in text references transactions,         -- the one record that shows it as its own
    primary key (chain, tx_hash)
);
create index fees_by_block on fees (chain, block_height);

-- Events, endpoints, deliveries -----------------------------------------------------------------------------------------

create table events (
    position bigint primary key,                     -- in the feed: consecutive, in commit order
    id text not null unique,
    type text not null,
    v1_type text,
    resource_id text not null,
    sequence integer not null,
    occasion bytea not null,
    mode text not null check (mode in ('live', 'test')),
    chain text not null,
    account_id uuid not null references accounts,
    generation integer not null,
    created_at timestamptz not null,
    body_v2 bytea not null,
    body_v1 bytea,
    unique (resource_id, sequence)
);
create index events_told on events (resource_id, type, occasion);
create index events_of_mode on events (mode, position);
create index events_of_account on events (account_id, mode, position);

create table endpoints (
    id uuid primary key default gen_random_uuid(),
    account_id uuid references accounts,             -- who made it and may see it; null: the operator
    url text not null,
    version integer not null check (version in (1, 2)),
    mode text not null check (mode in ('live', 'test')),
    events text[] not null,
    chains text[] not null,
    accounts uuid[] not null,
    enabled boolean not null default true,
    disabled_reason text,
    failing_since timestamptz,                       -- first failure since its last success; null while it answers
    created_at timestamptz not null,
    updated_at timestamptz not null,
    deleted_at timestamptz
);
create index endpoints_newest on endpoints (created_at, id);

create table endpoint_secrets (
    id uuid primary key default gen_random_uuid(),
    endpoint_id uuid not null references endpoints,
    key_id text not null,                            -- which key of the operator sealed it
    sealed bytea not null,
    created_at timestamptz not null,
    expires_at timestamptz                           -- set when it was rotated out; null for the newest
);
create index endpoint_secrets_of on endpoint_secrets (endpoint_id);

-- A lane is the deliveries of one resource to one endpoint: within it, order holds. Who changes whether a delivery holds
-- up the others of its lane has locked that lane (storage/locks.py); who only adds one at its end need not.
create table deliveries (
    id bigint generated always as identity primary key,
    endpoint_id uuid not null references endpoints,
    event_position bigint not null references events,
    resource_id text not null,
    account_id uuid not null references accounts,
    status text not null check (status in ('pending', 'succeeded', 'exhausted')),
    blocking boolean not null default true,          -- whether later ones of its lane wait for this one while it is pending
    waiting boolean not null default false,          -- set aside behind an earlier one, which will set it free
    attempts integer not null default 0,             -- failed ones of the schedule in force; a replay starts again
    alone integer not null default 0,                -- of these, how many came while the endpoint answered others
    attempted_at timestamptz,                        -- when the last attempt was recorded
    next_attempt_at timestamptz not null,
    fence bigint not null default 0,                 -- raised by each claim; demanded by its result
    lease_until timestamptz,                         -- by the database's clock; null while nobody owns it
    exhausted_at timestamptz,
    outage boolean not null default false,           -- exhausted by an outage: queued once more when that ends
    requeued boolean not null default false,         -- queued once more already
    created_at timestamptz not null,
    updated_at timestamptz not null,
    unique (endpoint_id, event_position)
);
create index deliveries_due on deliveries (endpoint_id, next_attempt_at, event_position) where status = 'pending' and not waiting;
create index deliveries_lane on deliveries (endpoint_id, resource_id, event_position) where status = 'pending';
create index deliveries_exhausted on deliveries (endpoint_id, event_position) where status = 'exhausted';
create index deliveries_outage on deliveries (endpoint_id, event_position) where outage;
create index deliveries_newest on deliveries (created_at, id);
create index deliveries_of_endpoint on deliveries (endpoint_id, created_at, id);
create index deliveries_by_event on deliveries (event_position);

-- Partitioned by time, so that old attempts go by dropping a table; the default partition takes what no month has yet.
create table attempts (
    id bigint generated always as identity,
    delivery_id bigint not null,
    account_id uuid not null,
    started_at timestamptz not null,
    duration_ms integer not null,
    outcome text not null,
    status_code integer,
    error text,
    response bytea,                                  -- first 16 KB of the answer
    primary key (id, started_at)
) partition by range (started_at);
create table attempts_default partition of attempts default;
create index attempts_of_delivery on attempts (delivery_id, started_at);

-- Ways in ---------------------------------------------------------------------------------------------------------------

create table api_keys (
    id uuid primary key default gen_random_uuid(),
    name text not null,
    mode text not null check (mode in ('live', 'test')),
    prefix text not null,                            -- first characters, to recognise it by
    hash bytea not null unique,                      -- SHA-256 of the key; a key is 256 random bits
    scopes text[] not null,
    account_id uuid references accounts,             -- null: every account of its mode
    created_at timestamptz not null,
    revoked_at timestamptz
);

create table idempotency_keys (
    api_key_id uuid not null references api_keys,
    key text not null,
    request_hash bytea not null,                     -- of method, path and body: another request under the same key is refused
    status_code integer,                             -- null while the first request is under way
    response bytea,
    created_at timestamptz not null,
    primary key (api_key_id, key)
);
