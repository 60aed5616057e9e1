package store

import (
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
)

// sendUUIDs makes a connection send uuid.UUID and []uuid.UUID as the bytes that
// they are. As pgx finds them, they are a driver.Valuer, and each goes through
// its text, in twenty allocations.
func sendUUIDs(m *pgtype.Map) {
	m.TryWrapEncodePlanFuncs = append([]pgtype.TryWrapEncodePlanFunc{wrapUUIDs}, m.TryWrapEncodePlanFuncs...)
}

func wrapUUIDs(value any) (plan pgtype.WrappedEncodePlanNextSetter, next any, ok bool) {
	switch v := value.(type) {
	case uuid.UUID:
		return &oneUUID{}, (*uuidValue)(&v), true
	case []uuid.UUID:
		return &manyUUIDs{}, uuidArray(v), true
	}
	return nil, nil, false
}

// uuidValue is a pgtype.UUIDValuer.
type uuidValue uuid.UUID

func (v *uuidValue) UUIDValue() (pgtype.UUID, error) { return pgtype.UUID{Bytes: *v, Valid: true}, nil }

type oneUUID struct{ next pgtype.EncodePlan }

func (p *oneUUID) SetNext(next pgtype.EncodePlan) { p.next = next }

func (p *oneUUID) Encode(value any, buf []byte) ([]byte, error) {
	id := value.(uuid.UUID) //nolint:errcheck,forcetypeassert // the plan is chosen by this type
	return p.next.Encode((*uuidValue)(&id), buf)
}

// uuidArray is a pgtype.ArrayGetter.
type uuidArray []uuid.UUID

func (a uuidArray) Dimensions() []pgtype.ArrayDimension {
	if a == nil {
		return nil
	}
	return []pgtype.ArrayDimension{{Length: int32(len(a)), LowerBound: 1}} //nolint:gosec // some hundreds
}

func (a uuidArray) Index(i int) any { return (*uuidValue)(&a[i]) }

func (a uuidArray) IndexType() any { return (*uuidValue)(nil) }

type manyUUIDs struct{ next pgtype.EncodePlan }

func (p *manyUUIDs) SetNext(next pgtype.EncodePlan) { p.next = next }

func (p *manyUUIDs) Encode(value any, buf []byte) ([]byte, error) {
	return p.next.Encode(uuidArray(value.([]uuid.UUID)), buf) //nolint:errcheck,forcetypeassert // the plan is chosen by this type
}
