-- Coverage that cannot hold a gap which nobody sees.

-- A step: from this height on, blocks are scanned for one thing, or are not, and why not. It ends where the next step
-- begins, or at the chain's cursor: so ranges can neither overlap nor leave a hole between them or before the cursor.
create table coverage_steps (
    chain text not null references chains,
    capability text not null check (capability in ('coin', 'logs', 'token')),
    token bytea not null,                            -- contract where the capability is 'token', else empty
    from_height bigint not null check (from_height >= 0),
    reason text,                                     -- why it is not covered; null: it is
    changed_at timestamptz,                          -- null: before this was recorded
    primary key (chain, capability, token, from_height),
    check ((capability = 'token') = (token <> ''))
);

insert into coverage_steps (chain, capability, token, from_height, reason, changed_at)
select chain, capability, token, from_height, null, null from coverage
where ended_at is null or through_height >= from_height;

insert into coverage_steps (chain, capability, token, from_height, reason, changed_at)
select chain, capability, token, through_height + 1, coalesce(ended_reason, 'switched off'), ended_at from coverage
where ended_at is not null and through_height >= from_height
on conflict do nothing;                              -- it was switched on again at once

drop table coverage;
alter table coverage_steps rename to coverage;
alter index coverage_steps_pkey rename to coverage_pkey;

-- What a scan looks for from its first block to its last: 'coin', 'logs', or 'token:' and the contract in hex. What is
-- switched off meanwhile is taken out, so that a scan never claims what it may have missed.
alter table scans add column covers text[] not null default '{}';
create index scans_by_top on scans (chain, through_height);

-- Each gives a page of a listing in its order, one chain at a time.
drop index scans_newest;
create index scans_of_chain on scans (chain, created_at, id);
create index scans_of_account on scans (chain, account_id, created_at, id);
create index scans_unfinished_newest on scans (chain, created_at, id) where finished_at is null;

-- Nothing is known of what comes behind the block that is read next.
create function coverage_ends_at_the_cursor() returns trigger language plpgsql as $$
declare
    changed text := case tg_table_name when 'chains' then to_jsonb(new) ->> 'name' else to_jsonb(new) ->> 'chain' end;
begin
    if exists (
        select from coverage c join chains h on h.name = c.chain
        where c.chain = changed and c.from_height > h.cursor_height + 1
    ) then
        raise exception 'coverage of % begins above the block that is read next', changed using errcode = 'check_violation';
    end if;
    return null;
end
$$;
create constraint trigger coverage_ends_at_the_cursor after insert or update on coverage
    deferrable initially deferred for each row execute function coverage_ends_at_the_cursor();
create constraint trigger coverage_ends_at_the_cursor after update of cursor_height on chains
    deferrable initially deferred for each row when (new.cursor_height < old.cursor_height)
    execute function coverage_ends_at_the_cursor();

-- A cursor only moves forward over blocks that are there, each the parent of the next.
create function cursor_leaves_no_gap() returns trigger language plpgsql as $$
begin
    if (
        select count(*) from blocks b
        where b.chain = new.name and b.orphaned_at is null
            and b.height > old.cursor_height and b.height <= new.cursor_height
            and b.parent_hash = case when b.height = old.cursor_height + 1 then old.cursor_hash else (
                select p.hash from blocks p where p.chain = b.chain and p.height = b.height - 1 and p.orphaned_at is null
            ) end
            and (b.height < new.cursor_height or b.hash = new.cursor_hash)
    ) <> new.cursor_height - old.cursor_height then
        raise exception 'the cursor of % would leave a gap between % and %', new.name, old.cursor_height,
            new.cursor_height using errcode = 'check_violation';
    end if;
    return new;
end
$$;
create trigger cursor_leaves_no_gap before update of cursor_height on chains
    for each row when (new.cursor_height > old.cursor_height) execute function cursor_leaves_no_gap();
