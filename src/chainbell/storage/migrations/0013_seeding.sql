-- Outputs that are older than a watch, on chains of the Bitcoin family: read from a node's set of unspent outputs.

-- Block of the set from which its older outputs were read; null until then, and once that block is not on our chain any more.
alter table addresses add column seeded_height bigint;
create index addresses_seeded on addresses (chain, seeded_height) where seeded_height is not null;

-- Block of a set that had this output no more, though we saw nothing spend it: it was spent there or below.
alter table outputs add column gone_at bigint;
create index outputs_gone on outputs (chain, gone_at) where gone_at is not null;

-- What was committed since the block of such a set is read again for its addresses: nobody asked for that scan, and nobody
-- is shown it. It claims no coverage but that of what leaves them.
alter table scans add column seeding boolean not null default false;

-- What keeps older outputs from being read; null while nothing does.
alter table chains add column seeding_trouble text;
