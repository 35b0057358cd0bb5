-- Whether what keeps a chain from going on needs an operator: no time and no other node heals it.
alter table chains add column halted boolean not null default false;
