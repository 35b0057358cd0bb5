-- Extended public keys and descriptors: an account's addresses that are derived, watched ahead, and handed out one by one.

create table keys (
    id uuid primary key default gen_random_uuid(),
    chain text not null references chains,
    account_id uuid not null references accounts,
    template text not null,                          -- a descriptor of public keys, without its checksum
    identity bytea not null,                         -- of what it derives, however it is written
    label text,
    gap_limit integer not null,
    first_index integer not null,                    -- first that is handed out; those below are watched too
    watched_from bigint not null,
    created_at timestamptz not null
);
create unique index keys_once on keys (chain, identity);
create index keys_newest on keys (chain, created_at, id);
create index keys_of_account on keys (chain, account_id, created_at, id);

create table key_branches (
    key_id uuid not null references keys,
    branch smallint not null,
    purpose text not null check (purpose in ('deposit', 'change')),
    next_index bigint not null,                      -- behind the highest that was handed out, or seen used
    watched_end bigint not null,                     -- behind the last that is watched
    derived_end bigint not null,                     -- behind the last that is watched or waits in derived_addresses
    end_index bigint not null,                       -- behind the last that there is
    primary key (key_id, branch)
);

-- Derived ahead, and not watched yet: a commit that widens a window then has nothing to derive.
create table derived_addresses (
    key_id uuid not null,
    branch smallint not null,
    key_index bigint not null,
    address bytea not null,
    primary key (key_id, branch, key_index),
    foreign key (key_id, branch) references key_branches
);

alter table addresses add column key_id uuid references keys;
alter table addresses add column branch smallint;
alter table addresses add column key_index bigint;
-- When it was given to somebody, or registered by name; null: it is watched because its key's window reaches so far.
alter table addresses add column handed_out_at timestamptz;
alter table addresses add check ((key_id is null) = (branch is null) and (key_id is null) = (key_index is null));
create unique index addresses_of_key on addresses (key_id, branch, key_index) where key_id is not null and removed_at is null;
create index addresses_newest_of_key on addresses (chain, key_id, created_at, id) where key_id is not null and removed_at is null;
