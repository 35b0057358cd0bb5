-- The Bitcoin family: what is ours is known by outpoint, and what replaces a transaction takes its inputs, not its nonce.

alter table transactions alter column origin_sender drop not null;
alter table transactions alter column origin_nonce drop not null;
alter table transactions add column senders bytea[] not null default '{}';   -- null inside: an input that cannot be known
alter table transactions add column maturity integer not null default 0;     -- confirmations that it needs in any case
create index transactions_waiting on transactions (chain, tx_hash) where block_height is null;

alter table addresses add column purpose text not null default 'deposit' check (purpose in ('deposit', 'change'));
-- First height whose spends are covered; null until the outputs that are older than the watch were read.
alter table addresses add column outgoing_from bigint;
update addresses set outgoing_from = watched_from;
create index addresses_unseeded on addresses (chain, created_at, id) where outgoing_from is null and removed_at is null;

-- A ledger of single inputs and outputs, from which balances follow: an output counts once a block of our chain has it, until
-- a block of our chain has an input that spends it. An outpoint is the txid as on the wire and the index, little-endian.
create table outputs (
    chain text not null references chains,
    outpoint bytea not null check (length(outpoint) = 36),
    script bytea not null,
    amount bigint not null,
    block_height bigint,                             -- null while no block of our chain has it
    primary key (chain, outpoint)
);
create index outputs_by_block on outputs (chain, block_height) where block_height is not null;
create index outputs_of on outputs (chain, script);

-- Every input of the transactions that we track.
create table inputs (
    chain text not null references chains,
    outpoint bytea not null check (length(outpoint) = 36),
    tx_hash bytea not null,
    script bytea,                                    -- of the output it spends; null: cannot be had
    amount bigint,
    block_height bigint,                             -- null while no block of our chain has it
    primary key (chain, outpoint, tx_hash)
);
create index inputs_by_block on inputs (chain, block_height) where block_height is not null;
create index inputs_waiting on inputs (chain, outpoint) where block_height is null;
create index inputs_of on inputs (chain, tx_hash);

-- Which node once showed a transaction in its mempool, and since when it does not any more.
create table mempool_sightings (
    chain text not null references chains,
    tx_hash bytea not null,
    node text not null,
    absent_since timestamptz,
    primary key (chain, tx_hash, node)
);
