-- Indexes on single keys of the metadata. They only narrow down: every condition here follows from the
-- filter, and the filter is checked on each row that they let through.

-- The value under a key as a number, for a btree index. A list, in which any element may match, is NaN,
-- and let through by every condition. Anything else matches no number.
CREATE FUNCTION pgrecall.metadata_number(metadata jsonb, key text)
RETURNS numeric
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN CASE jsonb_typeof(metadata -> key)
           WHEN 'number' THEN (metadata ->> key)::numeric
           WHEN 'array' THEN 'NaN'::numeric END;
END
$$;

-- The beginning of the text under a key, by code point as filters compare; an index entry has a largest
-- size. A list is U+10FFFF.
CREATE FUNCTION pgrecall.metadata_text(metadata jsonb, key text)
RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN CASE jsonb_typeof(metadata -> key)
           WHEN 'string' THEN left(metadata ->> key, 200)
           WHEN 'array' THEN U&'\+10FFFF' END COLLATE "C";
END
$$;

-- The indexed expression of a key; `kind` is number or text.
CREATE FUNCTION pgrecall.metadata_expression(kind text, source text, key text)
RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN format('(pgrecall.metadata_%s(%s, %L)%s)', kind, source, key,
                  CASE kind WHEN 'text' THEN ' COLLATE "C"' ELSE '' END);
END
$$;

-- What one comparison of a filter says about an indexed key; NULL if it says nothing. `place` is where
-- the value stands in the filter: the value itself stays a parameter. Texts are compared by their
-- beginnings, so that "less" there becomes "less or equal".
CREATE FUNCTION pgrecall.indexed_comparison(
    kind text, key text, operator text, value jsonb, place text[])
RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    expression text := pgrecall.metadata_expression(kind, 'c.metadata', key);
    kinds constant jsonb := '{"number": "number", "string": "text"}';
    comparison text := CASE operator
        WHEN '$eq' THEN '=' WHEN '$gt' THEN '>=' WHEN '$gte' THEN '>=' WHEN '$lt' THEN '<='
        WHEN '$lte' THEN '<=' END;
    given text;
BEGIN
    IF operator = '$in' THEN
        IF EXISTS (SELECT FROM jsonb_array_elements(value) AS v
                    WHERE kinds ->> jsonb_typeof(v) IS DISTINCT FROM kind) THEN
            RETURN NULL;
        END IF;
        given := format('jsonb_array_elements_text(($1).filter #> %L) AS v', place);
        RETURN format('(%1$s = ANY (ARRAY(SELECT %2$s FROM %3$s)) OR %1$s = %4$s)', expression,
            CASE kind WHEN 'number' THEN 'v::numeric' ELSE 'left(v, 200)' END, given,
            CASE kind WHEN 'number' THEN '''NaN''' ELSE 'U&''\+10FFFF''' END);
    ELSIF comparison IS NULL OR kinds ->> jsonb_typeof(value) IS DISTINCT FROM kind THEN
        RETURN NULL;
    END IF;
    given := CASE kind
        WHEN 'number' THEN format('(($1).filter #>> %L)::numeric', place)
        ELSE format('left(($1).filter #>> %L, 200)', place) END;
    RETURN format('(%1$s %2$s %3$s OR %1$s = %4$s)', expression, comparison, given,
        CASE kind WHEN 'number' THEN '''NaN''' ELSE 'U&''\+10FFFF''' END);
END
$$;

-- The conditions on indexed keys that follow from a filter, joined by AND; NULL if there are none.
-- `kinds` says which keys are indexed: {"year": "number"}.
CREATE FUNCTION pgrecall.indexed_conditions(filter jsonb, kinds jsonb, place text[] DEFAULT '{}')
RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    name text;
    value jsonb;
    found text[] := '{}';
BEGIN
    FOR name, value IN SELECT * FROM jsonb_each(filter) LOOP
        IF name = '$and' THEN
            found := found || ARRAY(
                SELECT pgrecall.indexed_conditions(part, kinds, place || name || (n - 1)::text)
                  FROM jsonb_array_elements(value) WITH ORDINALITY AS parts (part, n));
        ELSIF kinds ? name AND jsonb_typeof(value) = 'object' THEN
            found := found || ARRAY(
                SELECT pgrecall.indexed_comparison(
                           kinds ->> name, name, operator, operand, place || name || operator)
                  FROM jsonb_each(value) AS operands (operator, operand));
        ELSIF kinds ? name THEN
            found := found || pgrecall.indexed_comparison(
                kinds ->> name, name, '$eq', value, place || name);
        END IF;
    END LOOP;
    RETURN nullif(array_to_string(found, ' AND '), '');
END
$$;
