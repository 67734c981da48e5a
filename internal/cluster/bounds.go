package cluster

import (
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Bounds of what a message from outside may hold, below the bound of the whole message (MaxMessageBytes). They are far
// above what torc sends and keep one field from growing what is stored of it.
const (
	maxTextBytes = 64 << 10
	maxListItems = 1 << 16
	maxMapItems  = 64
	maxDepth     = 8
)

// Bounded says which field of a message is larger than any that torc sends. Bytes have the bound of the message.
func Bounded(m any) error {
	if p, ok := m.(proto.Message); ok {
		if err := bounded(p.ProtoReflect(), 0); err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
	}
	return nil
}

func bounded(m protoreflect.Message, depth int) (err error) {
	if depth > maxDepth {
		return fmt.Errorf("message %s is nested more than %d deep", m.Descriptor().Name(), maxDepth)
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
			err = boundedMap(f, v.Map())
		case f.IsList():
			err = boundedList(f, v.List(), depth)
		default:
			err = boundedValue(f, v, depth)
		}
		return err == nil
	})
	return err
}

func boundedMap(f protoreflect.FieldDescriptor, m protoreflect.Map) (err error) {
	if m.Len() > maxMapItems {
		return fmt.Errorf("field %s has %d entries: at most %d", f.FullName(), m.Len(), maxMapItems)
	}
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		if err = boundedValue(f.MapKey(), k.Value(), maxDepth); err == nil {
			err = boundedValue(f.MapValue(), v, maxDepth)
		}
		return err == nil
	})
	return err
}

func boundedList(f protoreflect.FieldDescriptor, l protoreflect.List, depth int) error {
	if l.Len() > maxListItems {
		return fmt.Errorf("field %s has %d entries: at most %d", f.FullName(), l.Len(), maxListItems)
	}
	if k := f.Kind(); k != protoreflect.StringKind && k != protoreflect.MessageKind {
		return nil
	}
	for i := range l.Len() {
		if err := boundedValue(f, l.Get(i), depth); err != nil {
			return err
		}
	}
	return nil
}

func boundedValue(f protoreflect.FieldDescriptor, v protoreflect.Value, depth int) error {
	switch f.Kind() {
	case protoreflect.StringKind:
		if n := len(v.String()); n > maxTextBytes {
			return fmt.Errorf("field %s has %d bytes: at most %d", f.FullName(), n, maxTextBytes)
		}
	case protoreflect.MessageKind:
		return bounded(v.Message(), depth+1)
	}
	return nil
}
