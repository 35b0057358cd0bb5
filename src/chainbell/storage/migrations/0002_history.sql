-- History: blocks below a watch, read later, on request.

-- A scan reads downwards, from the cursor of the moment it was asked for to `from_height`. What it reads next is always a
-- block of our chain: the parent of the lowest it has read, or the ancestor to which a reorg moved it.
create table scans (
    id uuid primary key default gen_random_uuid(),
    chain text not null references chains,
    account_id uuid references accounts,             -- whose addresses it is for; null: all of the chain's
    from_height bigint not null,                     -- the last block that it reads
    through_height bigint not null,                  -- the cursor of the moment it was asked for
    next_height bigint not null,                     -- below from_height: it has read everything
    next_hash bytea not null,
    notify boolean not null,                         -- whether endpoints are told of what it finds
    trouble text,                                    -- what keeps it from going on; null while nothing does
    created_at timestamptz not null,
    advanced_at timestamptz not null,
    finished_at timestamptz,
    check (from_height >= 0 and through_height >= from_height),
    check (next_height between from_height - 1 and through_height),
    check ((finished_at is not null) = (next_height < from_height))
);
create index scans_unfinished on scans (chain, next_height) where finished_at is null;
create index scans_newest on scans (created_at, id);

-- The addresses of a scan that has an account.
create table scan_addresses (
    scan_id uuid not null references scans,
    address_id uuid not null references addresses,
    primary key (scan_id, address_id)
);
create index scan_addresses_of on scan_addresses (address_id);

-- A record that a scan found: included again at or above this height, it is history no more. Null: found at the tip.
alter table transactions add column historical_until bigint;
-- Whether endpoints are not told of it, because who asked for the scan did not want them to.
alter table transactions add column silent boolean not null default false;
alter table events add column silent boolean not null default false;
